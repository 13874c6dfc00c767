import { holding } from './holding.ts'

holding('both', 100)
