import { assertTokenAllowed, OspError, type Transport } from 'ospd'
import { knownServer, nodePlatform, type SeenServer, type TrustServer } from 'ospd/node'
import type { Everywhere } from '../common/everywhere.ts'
import { unlessSoon } from '../common/link.ts'
import { waitsFor } from '../common/linkLines.ts'
import { errorLine, sayer } from '../common/output.ts'
import { placeText } from '../common/settings.ts'
import { stylesFor } from '../common/style.ts'
import { knownServersPath, transportOf, trustOf } from '../common/transport.ts'

/** The minimum time to wait for the server before the command asks for a token. */
const leastShowMs = 10_000

/**
 * The way of a token to its server. Where that is neither vouched for nor known it must be the one with this `fingerprint`:
 * nobody else is sent the token.
 */
export function wayToKnown(values: Everywhere, fingerprint: string | undefined): Transport {
  const known = trustOf(values, { confirmed: fingerprint !== undefined })
  return transportOf(values, async (server) => {
    if (fingerprint === undefined && (await isNew(values, server))) throw unknown(server)
    if (fingerprint !== undefined && fingerprint !== server.fingerprint) throw another(server, fingerprint)
    await known(server)
  })
}

/**
 * Connects, and says nothing to the server. Resolves with it where it is new: somebody has to say whether it is the right one.
 * Rejects with OspError where it can't be reached, is not to be trusted, or is no place to send a token to.
 */
export async function newServer(values: Everywhere): Promise<SeenServer | undefined> {
  let found: SeenServer | undefined
  const known = trustOf(values)
  const trust: TrustServer = async (server) => {
    if (await isNew(values, server)) found = server
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

async function isNew(values: Everywhere, server: SeenServer): Promise<boolean> {
  if (server.verified || values['tls-ca'] !== undefined) return false
  try {
    return (await knownServer(knownServersPath(values), server)) === undefined
  } catch {
    // The list cannot be read; the trust check reports that.
    return false
  }
}

function unknown({ host, port, fingerprint }: SeenServer): OspError {
  return new OspError(
    'unauthorized',
    `the server at ${placeText({ host, port })} is not known yet, and no token was sent; if ${fingerprint} is what its ` +
      `daemon has printed, give --fingerprint ${fingerprint}`,
  )
}

function another({ host, port, fingerprint }: SeenServer, wanted: string): OspError {
  return new OspError(
    'unauthorized',
    `the server at ${placeText({ host, port })} shows the key ${fingerprint}, not ${wanted}; no token was sent`,
  )
}
