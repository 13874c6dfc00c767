import { assertTokenAllowed, OspError } from 'ospd'
import { nodePlatform, type SeenServer, type TrustServer } from 'ospd/node'
import type { Everywhere } from '../common/everywhere.ts'
import { unlessSoon } from '../common/link.ts'
import { waitsFor } from '../common/linkLines.ts'
import { errorLine, sayer } from '../common/output.ts'
import { placeText } from '../common/settings.ts'
import { stylesFor } from '../common/style.ts'
import { isNewServer, transportOf, trustOf } from '../common/transport.ts'

/** The minimum time to wait for the server before the command asks for a token. */
const leastShowMs = 10_000

/**
 * Connects, and says nothing to the server. Resolves with it where it is new: somebody has to say whether it is the right one.
 * Rejects with OspError where it can't be reached, is not to be trusted, or is no place to send a token to.
 */
export async function newServer(values: Everywhere): Promise<SeenServer | undefined> {
  let found: SeenServer | undefined
  const known = trustOf(values)
  const trust: TrustServer = async (server) => {
    if (values.fingerprint === undefined && (await isNewServer(values, server))) found = server
    else await known(server)
  }
  const server = placeText(values.server)
  const retryForMs = Math.max(leastShowMs, values['retry-for'])
  const say = sayer(errorLine, stylesFor(process.stderr))
  using _ = unlessSoon(() => values.quiet || say(waitsFor({ server, retryForMs }, 'no answer yet'), 'yellow'))
  const signal = AbortSignal.timeout(retryForMs)
  try {
    const socket = await transportOf(values, trust).dial({ platform: nodePlatform(), maxPayload: 0 }, signal)
    assertTokenAllowed('a token', socket, values.insecure)
    socket.destroy()
  } catch (error) {
    if (signal.aborted) throw new OspError('timed-out', `${server} has not answered in time`)
    throw error
  }
  return found
}
