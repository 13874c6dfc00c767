import type { Limits } from '../limits.ts'
import { ClientActor } from './clientActor.ts'
import { drawBytes, SimulatedFile } from './files.ts'
import type { NetworkFaults } from './network.ts'
import type { SeededRandom } from './random.ts'
import type { World } from './world.ts'

/** The network of a world. */
export function drawFaults(random: SeededRandom): NetworkFaults {
  const reliable = random.chance(0.4, 'kind of the network')
  return {
    reliable,
    mostDelaysMs: random.pick([[1], [20], [200], [1, 200], [1, 20, 200]], 'delays of the network'),
    bytesPerMs: random.pick([Number.POSITIVE_INFINITY, 100, 10], 'width of the network'),
    loss: random.pick([0, 0.02, 0.2], 'loss of the network'),
    duplication: random.pick([0, 0.05, 0.2], 'duplication of the network'),
    straying: random.pick([0, 0, 0.1, 0.4], 'straying in the network'),
    strayFactor: random.pick([5, 25], 'time of a frame that strays'),
  }
}

/** Who sends files, and which; `keeps`: their lists of tasks outlive their programs. */
export function drawSenders(
  world: World,
  any: boolean,
  chunkBytes: number,
  keeps: boolean,
): { readonly clients: readonly ClientActor[]; readonly files: readonly SimulatedFile[] } {
  if (!any) return { clients: [], files: [] }
  const { random } = world.machine
  const users = ['alice', 'bob'].slice(0, random.pick([1, 1, 2], 'users'))
  const heedless = random.chance(0.3, 'clients heed no bound')
  const clients = Array.from({ length: random.integer(2, 4, 'clients') }, (_, at) => {
    const user = users[at] ?? random.pick(users, 'user of a client')
    return new ClientActor(world, { name: `client-${at + 1}`, user, heedless, keeps })
  })
  const files = users.flatMap((user) =>
    Array.from({ length: random.integer(1, 6, 'files of a user') }, (_, at) => {
      const algorithm = random.pick(['sha256', 'md5'] as const, 'digest of a file')
      return new SimulatedFile(user, `${user}-${at + 1}`, algorithm, drawBytes(random, chunkBytes))
    }),
  )
  return { clients, files }
}

/** The limits of a world: small, so that they are reached, and few instances, so that they change hands. */
export function drawLimits(random: SeededRandom): Partial<Limits> & { readonly chunkBytes: number } {
  const chunkBytes = random.pick([256, 1024, 2048], 'chunk')
  return {
    chunkBytes,
    windowBytes: chunkBytes * random.integer(1, 8, 'window'),
    checkpointBytes: chunkBytes * random.integer(1, 8, 'checkpoint'),
    checkpointMs: random.pick([1, 20, 500], 'time of a checkpoint'),
    checkpoints: random.pick([1, 2, 32], 'checkpoints of a record'),
    fileInstances: random.pick([1, 1, 2, 2, 3, 6], 'instances'),
    uploadsPerLink: random.pick([1, 2, 3, 5], 'uploads of a link'),
    parkedUploads: random.integer(1, 4, 'parked uploads'),
    parkedMs: random.pick([10, 5_000], 'time to park'),
    retryAfterMs: random.pick([1, 20, 1_000], 'time until a refused upload is tried again'),
  }
}
