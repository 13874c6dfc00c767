import { fuzzed } from './fuzzed.ts'

fuzzed(2, 1)
