import { storageContract } from '../../lib/testing.ts'
import { proved } from '../support/proved.ts'
import { diskKind, memoryKind } from './storage/places.ts'

proved(storageContract(memoryKind))
proved(storageContract(diskKind))
