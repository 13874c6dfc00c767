import { type Checks, type TestCase, testCasesOf } from './testCases.ts'
import { closeChecks, destroyChecks, unstartedCloseChecks } from './transport/close.ts'
import { connectedChecks, diallingChecks, openListener } from './transport/dialling.ts'
import { connectEnds, type Ends, type TransportFactory } from './transport/ends.ts'
import { flowChecks, limitedFlowChecks, unstartedFlowChecks } from './transport/flow.ts'
import { frameChecks, limitedFrameChecks } from './transport/frames.ts'

/** Returns the promises of `lib/ports/socket.ts` as test cases. `open` returns new transports for each of them. */
export function transportContract(name: string, open: () => TransportFactory): readonly TestCase[] {
  const suite = (subject: string, checks: Checks<Ends>, maxPayload?: number) =>
    testCasesOf(`${name}: ${subject}`, checks, async () => {
      const ends = await connectEnds(open, maxPayload)
      ends.start()
      return ends
    })
  const unstarted = (subject: string, checks: Checks<Ends>) =>
    testCasesOf(`${name}: ${subject}`, checks, () => connectEnds(open))
  return [
    testCasesOf(`${name}: a transport`, diallingChecks, () => openListener(open)),
    suite('a transport', connectedChecks),
    suite('a frame', frameChecks),
    suite('a frame', limitedFrameChecks, 1_000),
    suite('the flow', flowChecks),
    suite('the flow', limitedFlowChecks, 1_000),
    unstarted('the flow', unstartedFlowChecks),
    suite('closing', closeChecks),
    unstarted('closing', unstartedCloseChecks),
    suite('destroying', destroyChecks),
  ].flat()
}
