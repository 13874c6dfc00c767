import { fuzzed } from './fuzzed.ts'

fuzzed(1, 0.1)
