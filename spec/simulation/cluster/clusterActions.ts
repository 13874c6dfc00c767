import { OspError } from '../../../lib/errors.ts'
import type { SeededRandom } from '../../support/random.ts'
import type { Action } from '../action.ts'
import { chosenByWeight } from '../actions.ts'
import type { Faults } from '../faults.ts'
import { fileActions, sendNewer } from '../fileActions.ts'
import { type ProgramParts, programActions, sendFromAll } from '../messageActions.ts'
import { type NetworkParts, networkActions } from '../networkActions.ts'
import type { Breakpoint, Machine } from '../process.ts'
import type { Program } from '../program.ts'
import { type StoredFileParts, storedFileActions } from '../storedFileActions.ts'
import type { ClusterServer } from './clusterServer.ts'
import type { RollingRestart } from './rollingRestart.ts'
import type { SentFiles } from './sentFiles.ts'
import { changeMoments, freezeAtEffect } from './stepFreeze.ts'
import type { StoreLoss } from './storeLoss.ts'
import type { StorePaths } from './storePath.ts'

/** The parts of a world of several servers that its actions use. */
export interface ClusterParts extends NetworkParts, ProgramParts, StoredFileParts {
  readonly machine: Machine
  readonly servers: readonly ClusterServer[]
  readonly paths: StorePaths
  readonly sent: SentFiles
  readonly programs: readonly Program[]
  readonly restarts: RollingRestart
  readonly loss: StoreLoss
  readonly breakpoints: Breakpoint[]
  readonly dice: SeededRandom
}

/** The time after which other servers count a server as dead, in ms. */
const leaseMs = 10_000

/** What the programs of a world of several servers send. */
export type ClusterKind = 'cluster-files' | 'cluster-messages' | 'cluster-both'

/** Actions on the servers of a cluster and on their paths to the shared store. */
const serverActions: readonly Action<ClusterParts>[] = [
  { name: 'a server is killed', weight: 5, apply: (parts) => serverOf(parts).kill() },
  { name: 'two servers are killed', weight: 1, apply: (parts) => serverOf(parts).kill() && serverOf(parts).kill() },
  { name: 'a server is stopped', weight: 2, apply: (parts) => serverOf(parts).stop() },
  { name: 'a server freezes', weight: 3, apply: (parts) => serverOf(parts).freeze(lastingMs(parts)) },
  { name: 'a server is split from the store', weight: 3, apply: (parts) => serverOf(parts).split(splitMs(parts)) },
  { name: 'the store restarts', weight: 2, apply: restart },
  { name: 'the store fails over', weight: 1, apply: failOver },
  { name: 'the store loses steps', weight: 2, apply: lose },
  { name: 'the store is slow', weight: 1, apply: slowDown },
  { name: 'all servers restart in turn', weight: 1, apply: (parts) => parts.restarts.begin() },
  { name: 'notifications are lost', weight: 3, apply: silence },
  { name: 'a program is killed', weight: 5, apply: (parts) => withProgram(parts, true, (program) => program.kill()) },
]

/** Actions on files, and on the programs that send them. */
const filing: readonly Action<ClusterParts>[] = [
  ...fileActions,
  { name: 'a server loses its power', weight: 3, apply: losePower },
  { name: 'a server freezes at an effect', weight: 9, apply: freezeAtEffect },
  { name: 'an upload is cancelled late', weight: 9, apply: cancelLate },
  { name: 'a client freezes', weight: 4, apply: (parts) => withProgram(parts, true, freezeProgram(parts)) },
]

const upgrading: Action<ClusterParts> = {
  name: 'all servers are upgraded in turn',
  weight: 2,
  apply: (parts) => parts.restarts.begin(),
}

const hanging: Action<ClusterParts> = { name: 'the files of a server hang', weight: 6, apply: hang }

const freezing: Action<ClusterParts> = {
  name: 'a server freezes within a change of a stored file',
  weight: 8,
  apply: (parts) => freezeAtEffect(parts, changeMoments),
}

/** Actions of the programs of each kind of world. */
const sending: { readonly [K in ClusterKind]: readonly Action<ClusterParts>[] } = {
  'cluster-files': filing,
  'cluster-messages': programActions,
  'cluster-both': [...programActions, ...filing],
}

/** Actions that undo others; they exist in every world. */
const fixes: readonly Action<ClusterParts>[] = [
  { name: 'a server starts', weight: 10, apply: (parts) => serverOf(parts).start() },
  { name: 'a program starts', weight: 12, apply: (parts) => withProgram(parts, false, (program) => program.start()) },
]

/** Without these, a world has nothing to do. */
const always: ReadonlySet<string> = new Set(['a message is sent', 'a file is sent', 'the store loses steps'])

/** Number of actions tried until one can happen. */
const mostTries = 8

/** The actions of one world, and their frequencies. */
export class ClusterMix {
  readonly #weighed: readonly (readonly [weight: number, action: Action<ClusterParts>])[]

  /**
   * Each world has only some of the actions, with its own weights. `usesStored`: programs use stored files. `hasOlder`: servers run
   * the previous release at first.
   */
  constructor(
    random: SeededRandom,
    faults: Faults,
    kind: ClusterKind,
    { usesStored, hasOlder }: { readonly usesStored: boolean; readonly hasOlder: boolean },
  ) {
    const some: readonly Action<ClusterParts>[] = [...serverActions, ...networkActions, ...sending[kind]]
    const weighed = some.map((action) => {
      const scale = random.pick([1, 1, 5], `how often ${action.name}`)
      const isPresent = faults.has(action.name) || always.has(action.name)
      return [isPresent ? action.weight * scale : 0, action] as const
    })
    const hangs = kind !== 'cluster-messages' && faults.comes('hanging files', 0.3)
    const ofFiles = [...(hangs ? [hanging] : []), ...(usesStored ? [...storedFileActions, freezing] : [])]
    const others = [...fixes, ...ofFiles, ...(hasOlder ? [upgrading] : [])]
    this.#weighed = [...weighed, ...others.map((action) => [action.weight, action] as const)]
  }

  /** Applies an action that can happen, chosen by weight. Returns its name. */
  apply(parts: ClusterParts): string | undefined {
    for (let tries = 0; tries < mostTries; tries++) {
      const { name, apply } = chosenByWeight(parts.dice, this.#weighed)
      if (apply(parts)) return name
    }
    return undefined
  }
}

const serverOf = ({ dice, servers }: ClusterParts) => dice.pick(servers, 'a server')

/** From half a lease to three of them. */
const lastingMs = ({ dice }: ClusterParts) => dice.integer(leaseMs / 2, 3 * leaseMs, 'time that a server is frozen')

/** So short that the retries of a step outlive it. */
const splitMs = ({ dice }: ClusterParts) => dice.integer(100, 20_000, 'time that a server is split from the store')

function losePower(parts: ClusterParts): boolean {
  const server = serverOf(parts)
  const { process } = server
  if (!process || !server.kill()) return false
  parts.sent.losePower(process, parts.dice)
  return true
}

/**
 * A client cancels an upload, loses its link, and sends the file again. The step that removes the upload is delayed, and reaches the
 * store after the client has connected to another server.
 */
function cancelLate({ clients, files, servers, network, machine, paths, dice }: ClusterParts): boolean {
  const fitting = clients.flatMap((client) =>
    client.open.filter(({ phase }) => phase !== 'cancelling').map((upload) => [client, upload] as const),
  )
  if (fitting.length === 0) return false
  const [client, upload] = dice.pick(fitting, 'an upload')
  const link = [...network.links].find(({ clientProcess }) => clientProcess === client.process)
  const process = servers.find((server) => server.process && server.process === link?.serverProcess)?.process
  if (!link || !process) return false
  client.cancel(upload)
  const { time } = machine
  const begun = () => {
    link.break()
    link.client.lose(new OspError('link-lost', 'the network broke the link'))
    const file = files.find(({ user, name }) => user === client.user && name === upload.name)
    for (const ms of file ? [500, 1_000, 3_000] : [])
      time.alarm(time.now() + ms, () => file && client.process?.frozen === false && client.send(file))
  }
  paths.late.set(process, { step: 'expire', ms: dice.pick([500, 2_000, 8_000], 'time of a late step'), begun })
  return true
}

/** Half of the time, the clients of the server then connect to other servers. */
function hang({ dice, servers, sent, network }: ClusterParts): boolean {
  const { process } = dice.pick(servers, 'a server')
  if (!process) return false
  sent.hang(process, dice.pick([300, 3_000, 12_000, 40_000], 'time for which files hang'))
  if (dice.chance(0.5, 'the clients leave the server')) network.cut((link) => link.of(process))
  return true
}

const freezeProgram = (parts: ClusterParts) => (program: Program) =>
  program.freeze(parts.dice.integer(1, 60_000, 'time that a program is frozen'))

function restart({ trace, paths, dice }: ClusterParts): boolean {
  const ms = dice.integer(1, 5_000, 'time that the store is down')
  trace.tell(`the store restarts: ${ms} ms`)
  paths.disconnect(ms)
  return true
}

/** No step is lost, but the clock of the new store differs from that of the former one. */
function failOver(parts: ClusterParts): boolean {
  const { trace, paths, dice } = parts
  const ms = dice.integer(5_000, 30_000, 'time of a failover')
  const aheadMs = dice.integer(-5_000, 5_000, 'how far the clock of the store jumps')
  trace.tell(`the store fails over: ${ms} ms, its clock jumps by ${aheadMs} ms`)
  paths.failOver(ms)
  paths.clockAheadMs += aheadMs
  for (const server of parts.servers) server.hasBeenAway = true
  return true
}

/** The last steps are lost, among them messages that all programs send, and uploads. */
function lose(parts: ClusterParts): boolean {
  const { trace, dice } = parts
  const lostMs = dice.integer(0, 1_000, 'time whose steps are lost')
  const ms = dice.integer(5_000, 30_000, 'time of a failover')
  if (!parts.loss.begin(lostMs, ms)) return false
  trace.tell(`the store will lose the steps of ${lostMs} ms, and fail over: ${ms} ms`)
  for (const server of parts.servers) server.hasBeenAway = true
  sendNewer(parts)
  return sendFromAll(parts)
}

function slowDown({ trace, paths, machine, dice }: ClusterParts): boolean {
  const ms = dice.integer(1_000, 20_000, 'time that the store is slow')
  trace.tell(`the store is slow: ${ms} ms`)
  paths.slowUntilMs = machine.time.now() + ms
  return true
}

function silence({ trace, paths, machine, dice }: ClusterParts): boolean {
  const ms = dice.integer(1_000, 60_000, 'time without notifications')
  trace.tell(`no notification arrives: ${ms} ms`)
  paths.silentUntilMs = machine.time.now() + ms
  return true
}

function withProgram(parts: ClusterParts, running: boolean, act: (program: Program) => void): boolean {
  const fitting = parts.programs.filter((program) => program.running === running)
  if (fitting.length === 0) return false
  act(parts.dice.pick(fitting, 'a program'))
  return true
}
