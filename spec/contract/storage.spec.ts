import { diskKind, memoryKind } from './storage/places.ts'
import { storageContract } from './storage.ts'

storageContract(memoryKind)
storageContract(diskKind)
