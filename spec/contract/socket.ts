import { closeFacts } from './socket/closeFacts.ts'
import { destroyFacts } from './socket/destroyFacts.ts'
import type { Ways } from './socket/ends.ts'
import { flowFacts } from './socket/flowFacts.ts'
import { frameFacts } from './socket/frameFacts.ts'
import { transportFacts } from './socket/transportFacts.ts'

/**
 * Every promise of `lib/ports/socket.ts`, as facts about the transport called `name`. `open` makes a fresh way
 * to listen, and to reach that place, for each fact.
 */
export function socketContract(name: string, open: () => Ways): void {
  transportFacts(name, open)
  frameFacts(name, open)
  flowFacts(name, open)
  closeFacts(name, open)
  destroyFacts(name, open)
}
