import { holding } from './holding.ts'

holding('messages', 300)
