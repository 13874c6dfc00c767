import type { SeededRandom } from '../../support/random.ts'
import type { ClientActor } from '../clientActor.ts'
import { generateBytes, type SimulatedFile } from '../files.ts'
import type { SimulatedNetwork } from '../network.ts'
import type { Trace } from '../trace.ts'
import type { ClusterServer } from './clusterServer.ts'

/** The effects after which a server freezes. Of a step of the store, the answer has then arrived. */
const effects = [
  ...['claim', 'checkpoint', 'verified', 'announce', 'complete', 'remove'].map((step) => `answer to ${step}`),
  ...['time to open', 'time of a write', 'time of a flush', 'time of a rename', 'time of a copy', 'time to publish'],
]

/** The time for which a server freezes: shorter than a lease, about as long, and longer. */
const freezesMs = [200, 2_000, 9_000, 14_000, 30_000]

interface FreezeParts {
  readonly trace: Trace
  readonly network: SimulatedNetwork
  readonly limits: { readonly chunkBytes: number }
  readonly files: readonly SimulatedFile[]
  readonly clients: readonly ClientActor[]
  readonly dice: SeededRandom
}

/**
 * Freezes a server as soon as an effect of a chosen kind has taken place, with the rest of its work still ahead. Mostly, its
 * clients then connect to other servers at once, and some of them send a newer version of a file.
 */
export function freezeAfterEffect(parts: FreezeParts, server: ClusterServer): boolean {
  const { trace, network, dice } = parts
  const { process } = server
  if (!process || process.frozen || process.breakpoint) return false
  const reason = dice.pick(effects, 'an effect after which a server freezes')
  const ms = dice.pick(freezesMs, 'time of a freeze')
  const isLeft = dice.chance(0.8, 'the clients leave the server')
  const isChanged = dice.chance(0.6, 'a file changes meanwhile')
  trace.tell(`${process.name} will freeze after this: ${reason}`)
  const reached = () => {
    if (!server.freeze(ms)) return
    if (isLeft) network.cut((link) => link.of(process))
    if (isChanged) sendNewer(parts)
  }
  process.breakpoint = { reason, reached }
  return true
}

/** Writes to a file, which all programs of its user then send. */
export function sendNewer({ trace, limits, files, clients, dice }: Omit<FreezeParts, 'network'>): void {
  if (files.length === 0) return
  const file = dice.pick(files, 'a file that changes')
  trace.tell(`${file.path} is written to`)
  file.write(generateBytes(dice, limits.chunkBytes))
  for (const client of clients) if (client.user === file.user && client.process?.frozen === false) client.send(file)
}
