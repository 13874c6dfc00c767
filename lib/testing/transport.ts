import type { TestCase } from './testCases.ts'
import { closeFacts } from './transport/closeFacts.ts'
import { destroyFacts } from './transport/destroyFacts.ts'
import type { TransportFactory } from './transport/ends.ts'
import { flowFacts } from './transport/flowFacts.ts'
import { frameFacts } from './transport/frameFacts.ts'
import { transportFacts } from './transport/transportFacts.ts'

/**
 * Every promise of `lib/ports/socket.ts`, as facts about the transport called `name`. `open` makes a fresh way
 * to listen, and to reach that place, for each fact.
 */
export function transportContract(name: string, open: () => TransportFactory): readonly TestCase[] {
  return [
    ...transportFacts(name, open),
    ...frameFacts(name, open),
    ...flowFacts(name, open),
    ...closeFacts(name, open),
    ...destroyFacts(name, open),
  ]
}
