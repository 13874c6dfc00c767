import type { Limits } from '../../../lib/limits.ts'
import type { SeededRandom } from '../../support/random.ts'
import type { ClientActor } from '../clientActor.ts'
import { sendNewer } from '../fileActions.ts'
import type { SimulatedFile } from '../files.ts'
import type { SimulatedNetwork } from '../network.ts'
import type { Breakpoint, SimulatedProcess } from '../process.ts'
import type { Trace } from '../trace.ts'
import type { ClusterServer } from './clusterServer.ts'

/** The operations on files before and after which a server freezes. */
const operations = [
  'time to open',
  'time of a write',
  'time of a flush',
  'time to truncate',
  'time of a rename',
  'time of a copy',
  'time to publish',
  'time of a removal',
]
/** The steps of the store after whose answers a server freezes. */
const steps = ['claim', 'checkpoint', 'verified', 'announce', 'complete', 'remove']

/** Some are chosen more often: the effect must then come too late. */
const moments: readonly Pick<Breakpoint, 'when' | 'reason'>[] = [
  ...[...operations, 'time to publish', 'time to publish', 'time of a write', 'time of a write'].map(
    (reason) => ({ when: 'before', reason }) as const,
  ),
  ...[...operations, ...steps.map((step) => `answer to ${step}`)].map((reason) => ({ when: 'after', reason }) as const),
]

/** The same for changes of stored files. */
export const changeMoments: typeof moments = [
  ...['time of a link', 'time of a rename', 'time of a removal'].map((reason) => ({ when: 'before', reason }) as const),
  ...['answer to begin', 'time to create a fence', 'time of a link'].map(
    (reason) => ({ when: 'after', reason }) as const,
  ),
]

/** The time for which a server freezes: shorter than a lease, about as long, longer, and longer than a client keeps a silent link. */
const freezesMs = [200, 2_000, 9_000, 14_000, 30_000, 60_000]

interface FreezeParts {
  readonly trace: Trace
  readonly network: SimulatedNetwork
  readonly limits: Limits
  readonly files: readonly SimulatedFile[]
  readonly clients: readonly ClientActor[]
  readonly servers: readonly ClusterServer[]
  /** Those of all servers. */
  readonly breakpoints: Breakpoint[]
  readonly dice: SeededRandom
}

/**
 * Freezes the server that comes first to an effect of a chosen kind, just before or after it, with the rest of its work still ahead.
 * Mostly, its clients then connect to other servers, and send newer versions of their files.
 */
export function freezeAtEffect(parts: FreezeParts, among = moments): boolean {
  const { trace, network, servers, dice } = parts
  const { when, reason } = dice.pick(among, 'an effect at which a server freezes')
  const ms = dice.pick(freezesMs, 'time of a freeze')
  const isLeft = dice.chance(0.8, 'the clients leave the server')
  const isChanged = dice.chance(0.6, 'files change meanwhile')
  trace.tell(`a server will freeze ${when} this: ${reason}`)
  if (dice.chance(0.5, 'files are sent that lead to the effect')) sendNewer(parts, dice)
  const reached = (process: SimulatedProcess) => {
    trace.tell(`${process.name} comes to this: ${reason}`)
    servers.find((server) => server.process === process)?.freeze(ms)
    if (isLeft) network.cut((link) => link.of(process))
    if (isChanged) sendNewer(parts, dice)
  }
  parts.breakpoints.push({ when, reason, reached })
  return true
}
