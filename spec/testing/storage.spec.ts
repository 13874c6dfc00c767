import { storageContract } from '../../lib/testing.ts'
import { runTestCases } from '../support/runTestCases.ts'
import { diskKind, memoryKind } from './storage/places.ts'

runTestCases(storageContract(memoryKind))
runTestCases(storageContract(diskKind))
