import type { TestCase } from './testCases.ts'
import { closeCases } from './transport/close.ts'
import { destroyCases } from './transport/destroy.ts'
import { diallingCases } from './transport/dialling.ts'
import type { TransportFactory } from './transport/ends.ts'
import { flowCases } from './transport/flow.ts'
import { frameCases } from './transport/frames.ts'

/**
 * Returns the promises of `lib/ports/socket.ts` as test cases of the transport `name`. `open` returns a new transport
 * to listen on, and one that reaches it, for each test case.
 */
export function transportContract(name: string, open: () => TransportFactory): readonly TestCase[] {
  return [
    ...diallingCases(name, open),
    ...frameCases(name, open),
    ...flowCases(name, open),
    ...closeCases(name, open),
    ...destroyCases(name, open),
  ]
}
