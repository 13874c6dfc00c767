import type { TestCase } from './testCases.ts'
import { closeFacts } from './transport/closeFacts.ts'
import { destroyFacts } from './transport/destroyFacts.ts'
import type { TransportFactory } from './transport/ends.ts'
import { flowFacts } from './transport/flowFacts.ts'
import { frameFacts } from './transport/frameFacts.ts'
import { transportFacts } from './transport/transportFacts.ts'

/**
 * Returns the promises of `lib/ports/socket.ts` as test cases of the transport `name`. `open` returns a new transport
 * to listen on, and one that reaches it, for each test case.
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
