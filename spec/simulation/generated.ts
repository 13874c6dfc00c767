import { defaultLimits, KiB, type Limits, MiB } from '../../lib/limits.ts'
import type { SeededRandom } from '../support/random.ts'
import { ClientActor } from './clientActor.ts'
import type { ClientParts } from './clientRun.ts'
import type { Faults } from './faults.ts'
import { notified } from './fileNotices.ts'
import { generateBytes, SimulatedFile } from './files.ts'
import type { NetworkFaults } from './network.ts'

/** Maximum number of programs that send files. */
export const mostSenders = 4

/** The network of a world. */
export function generateNetworkFaults(random: SeededRandom, faults: Faults): NetworkFaults {
  const reliable = random.chance(0.4, 'kind of the network')
  return {
    reliable,
    mostDelaysMs: random.pick([[1], [20], [200], [1, 200], [1, 20, 200]], 'delays of the network'),
    bytesPerMs: random.pick([Number.POSITIVE_INFINITY, 100, 10], 'width of the network'),
    loss: reliable ? 0 : faults.lasts('loss', [0.02, 0.2], 0),
    duplication: reliable ? 0 : faults.lasts('duplication', [0.05, 0.2], 0),
    straying: faults.lasts('straying', [0.1, 0.4], 0),
    strayFactor: random.pick([5, 25], 'time of a frame that strays'),
  }
}

/** The programs that send files, and their files. `keep`: some programs have lists of tasks that outlive them. */
export function generateSenders(
  parts: ClientParts & { readonly faults: Faults },
  any: boolean,
  chunkBytes: number,
  keep: boolean,
  sendsMetadata: boolean,
): { readonly clients: readonly ClientActor[]; readonly files: readonly SimulatedFile[] } {
  if (!any) return { clients: [], files: [] }
  const { random } = parts.machine
  const users = ['alice', 'bob'].slice(0, random.pick([1, 1, 2], 'users'))
  const heedless = random.chance(0.3, 'clients heed no bound')
  const keeps = random.chance(0.4, 'lists of tasks outlive programs') || keep
  const clients = Array.from({ length: random.integer(2, mostSenders, 'clients') }, (_, at) => {
    const user = users[at] ?? random.pick(users, 'user of a client')
    const name = `client-${at + 1}`
    const remembers = random.fork(`digests of ${name}`).chance(0.5, 'a client remembers digests')
    return new ClientActor(parts, { name, user, heedless, keeps, remembers })
  })
  const files = users.flatMap((user) =>
    Array.from({ length: random.integer(1, 6, 'files of a user') }, (_, at) => {
      const algorithm = random.pick(['sha256', 'md5'] as const, 'digest of a file')
      return new SimulatedFile(user, `file-${at + 1}`, algorithm, generateBytes(random, chunkBytes))
    }),
  )
  for (const file of sendsMetadata ? files : []) {
    const hasMetadata = random.fork(`metadata of ${file.path}`).chance(0.3, 'a file has metadata')
    if (hasMetadata) file.metadata = { source: file.path }
  }
  const own = files.filter(({ path }) => parts.faults.takesPart(path))
  const senders = clients.filter(({ name, user }) => {
    return parts.faults.takesPart(name) && own.some((file) => file.user === user)
  })
  return { clients: senders, files: own }
}

/** Lets programs ask for receipts of some files, and send some of these to other users. */
export function generateReceipts({
  machine,
  files,
  clients,
  mail,
}: Pick<ClientParts, 'machine' | 'files'> & {
  readonly clients: readonly ClientActor[]
  readonly mail: { readonly users: readonly string[]; readonly readers: readonly string[] }
}): void {
  const { users, readers } = mail
  // Otherwise no file is ever handled by all users.
  const canBeHandled = users.includes(notified)
  for (const file of files) {
    const own = machine.random.fork(`receipts of ${file.path}`)
    file.asksReceipts = own.chance(0.5, 'programs ask for receipts')
    file.iteratesReceipts = own.chance(0.3, 'programs iterate over receipts') || !canBeHandled
    const isSent = own.chance(0.6, 'it is sent to other users') && file.asksReceipts && readers.length > 0
    file.to = isSent ? [...new Set([own.pick(readers, 'a reader'), own.pick(readers, 'another reader')])] : []
  }
  // A program gets the receipts of the other programs of its user, too, which these then never get.
  for (const client of clients) {
    const isOnly = clients.filter(({ user }) => user === client.user).length === 1
    client.takesReceipts = isOnly && files.some(({ user, asksReceipts }) => asksReceipts && user === client.user)
  }
}

const { userBytes, userFiles, mailboxMessages, mailboxBytes, waitingMessages, messageStoreBytes, receipts, senderIds } =
  defaultLimits

/** Limits with which no quota keeps a file from being stored. */
export const noQuota = { userBytes, userFiles }

/** Limits with which no message about a file waits. */
export const largeMailboxes = { mailboxMessages, mailboxBytes, waitingMessages, messageStoreBytes, receipts, senderIds }

/** The limits of a world: low, so that they are reached, and few instances, so that they change hands. */
export function generateLimits(
  random: SeededRandom,
  faults: Faults,
): Partial<Limits> & { readonly chunkBytes: number } {
  const chunkBytes = random.pick([256, 1024, 2048], 'chunk')
  const { fileBytes, uploadAgeMs } = defaultLimits
  const quota = faults.lasts('a quota', [4 * chunkBytes, 12 * chunkBytes], userBytes)
  const own = random.fork('narrow quotas')
  const small = random.fork('files in one request')
  const fewFiles = own.pick([userFiles, 3, 12], 'files of a user')
  return {
    chunkBytes,
    smallFileBytes: small.pick([0, 0, chunkBytes, 3 * chunkBytes, 12 * chunkBytes], 'size of a file in one request'),
    windowBytes: chunkBytes * random.integer(1, 8, 'window'),
    checkpointBytes: chunkBytes * random.integer(1, 8, 'checkpoint'),
    checkpointMs: random.pick([1, 20, 500], 'time of a checkpoint'),
    checkpoints: random.pick([1, 2, 32], 'checkpoints of a record'),
    fileInstances: random.pick([1, 1, 2, 2, 3, 6], 'instances'),
    uploadsPerLink: random.pick([1, 2, 3, 5], 'uploads of a link'),
    parkedUploads: random.integer(1, 4, 'parked uploads'),
    parkedMs: random.pick([10, 5_000], 'time to park'),
    fileBytes: faults.lasts('a bound for files', [chunkBytes, 4 * chunkBytes], fileBytes),
    userBytes: quota,
    entryBytes: own.pick([0, 1, chunkBytes / 8], 'bytes of an entry'),
    // Without a quota, the number of files is not limited while they are counted for the first time.
    userFiles: quota < userBytes ? fewFiles : userFiles,
    uploadAgeMs: faults.lasts('a short age of uploads', [1_000, 20_000], uploadAgeMs),
    chunkMemoryBytes: random.pick([4 * chunkBytes, 16 * chunkBytes, 16 * MiB], 'memory for chunks'),
    retryAfterMs: random.pick([1, 20, 1_000], 'time until a refused upload is tried again'),
    stalledMs: random.pick([200, 5_000, 60_000], 'time until an upload has stalled'),
  }
}

/** Low limits of waiting and remembered items. They use separate randomness, so that nothing else depends on them. */
export function generateQueueLimits(random: SeededRandom): Partial<Limits> {
  const own = random.fork('narrow queues')
  const {
    unsentBytes,
    rememberedAddresses,
    messageIds,
    links,
    pendingLinks,
    refusedLinks,
    framesPerSecond,
    workMsPerSecond,
  } = defaultLimits
  return {
    unsentBytes: own.pick([2 * KiB, 8 * KiB, unsentBytes], 'unsent bytes of a link'),
    rememberedAddresses: own.pick([1, 2, rememberedAddresses], 'addresses that are remembered'),
    messageIds: own.pick([20, messageIds], 'message ids'),
    links: own.pick([16, links], 'links'),
    refusedLinks: own.pick([1, 3, refusedLinks], 'links that are turned away'),
    framesPerSecond: own.pick([50, framesPerSecond, framesPerSecond], 'frames of a user'),
    senderSharePercent: own.pick([10, 50, 100], 'share of a sender'),
    pendingLinks: own.pick([16, pendingLinks], 'links before HELLO'),
    workMsPerSecond: own.pick([20, workMsPerSecond, workMsPerSecond], 'work of a user'),
  }
}
