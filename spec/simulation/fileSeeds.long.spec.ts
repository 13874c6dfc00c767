import { holding } from './holding.ts'

holding('files', 300)
