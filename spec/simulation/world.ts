import type { Limits } from '../../lib/limits.ts'
import { defaultLimits, limitsWith } from '../../lib/limits.ts'
import type { DigestName, Digests } from '../../lib/ports/platform.ts'
import { digestNumbers } from '../../lib/wire/protocol.ts'
import { SeededRandom } from '../support/random.ts'
import { ActionMix, type ActionParts, type WorldKind } from './actions.ts'
import { AnswerWatch } from './answerWatch.ts'
import { Bounds } from './bounds.ts'
import type { ClientActor } from './clientActor.ts'
import { SimulatedDisk } from './disk.ts'
import { Ending } from './ending.ts'
import { Faults, type Part, whole } from './faults.ts'
import type { SimulatedFile } from './files.ts'
import {
  generateLimits,
  generateNetworkFaults,
  generateQueueLimits,
  generateReceipts,
  generateSenders,
} from './generated.ts'
import { HandledUploads } from './handledUploads.ts'
import { HelloWatch } from './helloWatch.ts'
import { Invariants } from './invariants.ts'
import type { OwnLayers } from './layers.ts'
import { scheduleLoad } from './loadGenerator.ts'
import { generateMailLimits, Mail } from './mail.ts'
import { type Link, SimulatedNetwork } from './network.ts'
import { PlaceWatch, platformOf } from './placeWatch.ts'
import type { Machine } from './process.ts'
import type { Program, Visitor } from './program.ts'
import { Queues } from './queues.ts'
import { QueueWatch } from './queueWatch.ts'
import { RightsWatch } from './rightsWatch.ts'
import { ServerActor } from './serverActor.ts'
import { StoredFiles } from './storedFiles.ts'
import { VirtualTime } from './time.ts'
import { Tokens } from './tokens.ts'
import { Trace } from './trace.ts'
import { SimulatedHook } from './uploadHook.ts'
import { UploadWatch } from './uploadWatch.ts'

/** The result of a run. */
export interface RunReport {
  readonly seed: number
  readonly steps: number
  readonly virtualMs: number
  /** Number of published files. */
  readonly published: number
  /** Number of messages that have reached a recipient. */
  readonly delivered: number
  /** The events, one line each, with the virtual time. */
  readonly trace: readonly string[]
  /** The first violated invariant, which ended the run. */
  readonly failure: string | undefined
  /** Numbers of the actions that happened, and names of the parts that can be left out. */
  readonly actions: readonly number[]
  readonly names: readonly string[]
}

/** Number of actions in a run. */
const actionCount = 80
const mostSteps = 400_000

/**
 * A server, some clients, a network and a disk, generated from a seed, and the actions on them. It builds the parts of
 * a run; each part declares which of the others it uses.
 */
export class World implements ActionParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly faults: Faults
  readonly network: SimulatedNetwork
  readonly disk: SimulatedDisk
  /** Storage of the user's own; the disk then stays empty. */
  readonly place: PlaceWatch | undefined
  readonly limits: Limits
  readonly tokens: Tokens
  readonly invariants: Invariants
  readonly bounds: Bounds
  readonly queues: Queues
  readonly uploads: UploadWatch
  readonly server: ServerActor
  readonly clients: readonly ClientActor[]
  readonly files: readonly SimulatedFile[]
  readonly mail: Mail
  readonly stored: StoredFiles
  readonly hook = new SimulatedHook()
  readonly handled = new HandledUploads(this)
  /** Clients that connect and disconnect in addition to the programs. */
  readonly visitors = new Set<Visitor>()
  /** Randomness of the current action: leaving out one action changes nothing about the others. */
  dice: SeededRandom
  /** Whether the actions have ended. */
  healed = false
  readonly #seed: number
  readonly #part: Part
  readonly #answers: AnswerWatch
  readonly #rights: RightsWatch
  /** Whether the limits of queues are low, and a load generator fills them. */
  readonly #isNarrow: boolean
  readonly #actions: ActionMix
  readonly #applied: number[] = []
  #steps = 0

  constructor(seed: number, digests: Digests, kind: WorldKind, part: Part = whole, own: OwnLayers = {}) {
    const random = new SeededRandom(seed)
    const time = new VirtualTime()
    const sendsFiles = kind !== 'messages'
    const sendsMessages = kind !== 'files'
    this.#seed = seed
    this.#part = part
    this.dice = random
    this.trace = new Trace(time)
    this.machine = { time, random, digests }
    this.faults = new Faults(random, part.without)
    this.#isNarrow = this.faults.comes('narrow queues', 0.25)
    this.network = new SimulatedNetwork(this.machine, generateNetworkFaults(random, this.faults))
    const operationMs = random.pick([1, 4, 40], 'time of the disk')
    const segmentBytes = sendsMessages ? random.pick([100, 500, 3_000], 'segments of the journal') : undefined
    this.disk = new SimulatedDisk(random, operationMs, segmentBytes)
    this.network.layers = own
    this.disk.layers = own
    this.place = own.place && new PlaceWatch(this, own.place(platformOf(this.machine)))
    const usesStored = sendsFiles && !this.place && !own.plainBytes && this.faults.comes('stored files', 0.3)
    this.#actions = new ActionMix(random, kind, this.faults, !this.place, usesStored)
    this.stored = new StoredFiles(this)
    if (usesStored) this.disk.stored = this.stored
    this.stored.notices.isOn = usesStored && random.fork('messages about files').chance(0.5, 'notify')
    this.tokens = new Tokens(time, random.pick([0, 40], 'time to know users'))
    const forFiles = sendsFiles ? generateLimits(random, this.faults) : { chunkBytes: 1_024, windowBytes: 1_024 }
    this.mail = new Mail(this, { any: sendsMessages, hasDevices: true, sendsNotices: this.stored.notices.isOn })
    const forMail = generateMailLimits(random, this.mail, sendsFiles)
    const narrow = this.#isNarrow ? generateQueueLimits(random) : {}
    // Outboxes would send the messages beyond these limits forever, and files would wait for their messages.
    const { messageIds, senderIds } = defaultLimits
    const ample = this.mail.hasOutboxes || this.stored.notices.isOn ? { messageIds } : {}
    const forNotices = this.stored.notices.isOn ? { senderIds } : {}
    const chosen = { ...forFiles, ...forMail, ...narrow, ...ample, ...forNotices }
    if (this.#isNarrow && sendsMessages) this.mail.poison += random.fork('poison').pick([0, 4], 'more poison')
    this.limits = limitsWith(chosen)
    const { trace, limits, network, disk, tokens } = this
    this.invariants = new Invariants(this)
    this.bounds = new Bounds({ trace, time, limits, network, disk })
    this.queues = new Queues(trace, time, limits)
    this.uploads = new UploadWatch({ trace, time, network, disk, windowBytes: limits.windowBytes })
    this.#answers = new AnswerWatch(trace, time)
    this.#rights = new RightsWatch(trace, time, tokens)
    const watchQueues = new QueueWatch(this.queues, time, limits.framesPerSecond)
    const hellos = new HelloWatch(trace)
    network.opened = (link) => this.#watch(link, watchQueues, hellos)
    this.server = new ServerActor(this, chosen)
    const { clients, files } = generateSenders(this, sendsFiles, forFiles.chunkBytes, sendsMessages, usesStored)
    this.clients = clients
    this.files = files
    this.hook.isOn = usesStored && random.fork('onUpload').chance(0.4, 'the server decides about uploads')
    for (const file of files) file.hook = this.hook
    if (this.stored.notices.isOn) generateReceipts(this)
  }

  get programs(): readonly Program[] {
    return [...this.clients, ...this.mail.programs]
  }

  /** A stored file was removed, or was given another name. */
  readonly removed = (user: string, name: string): void => this.invariants.removed(user, name)

  get users(): readonly string[] {
    return [...new Set([...this.clients, ...this.mail.programs].map(({ user }) => user))]
  }

  async run(): Promise<RunReport> {
    // Loading takes real time, in which virtual time would pass.
    for (const name of Object.keys(digestNumbers) as DigestName[]) await this.machine.digests.load(name)
    this.server.start()
    for (const client of this.clients) {
      client.start()
      for (const file of this.files) if (file.user === client.user) client.send(file)
    }
    for (const program of this.mail.programs) program.start()
    const gapMs = this.machine.random.pick([20, 100, 200, 2_000], 'time between two actions')
    const endMs = this.#schedule(gapMs)
    if (this.#isNarrow) scheduleLoad(this, endMs)
    await this.until(endMs, () => false)
    if (!this.trace.failed) await new Ending(this).run()
    const report = this.#report()
    for (const { process, client } of this.visitors) {
      process.kill()
      client.close().catch(() => {})
    }
    for (const program of this.programs) program.letGo()
    await microtasks()
    return report
  }

  /** Lets time pass until `done` returns true, until `endMs`, or until an invariant is violated. */
  async until(endMs: number, done: () => boolean): Promise<void> {
    while (!this.trace.failed && !done() && this.machine.time.step(endMs)) {
      await microtasks()
      this.#check()
      if (++this.#steps > mostSteps) this.trace.fail(`the run takes more than ${mostSteps} steps`)
    }
  }

  #report(): RunReport {
    const { lines, failure } = this.trace
    return {
      seed: this.#seed,
      steps: this.#steps,
      virtualMs: this.machine.time.now(),
      published: (this.place ?? this.disk).publications,
      delivered: this.mail.invariants.delivered,
      trace: [...lines],
      failure,
      actions: this.#applied,
      names: [...this.faults.lasting, ...this.programs.map(({ name }) => name), ...this.files.map(({ path }) => path)],
    }
  }

  /** Lets every watcher see a link before anything passes on it. */
  #watch(link: Link, watchQueues: QueueWatch, hellos: HelloWatch): void {
    const isUnruly = [...this.visitors].some(({ process, unruly }) => unruly && process === link.clientProcess)
    this.mail.watch.watch(link)
    this.uploads.watch(link)
    this.stored.watch(link)
    this.bounds.watch(link, isUnruly)
    for (const watcher of [watchQueues, this.#answers, this.#rights, hellos]) watcher.watch(link)
  }

  /** Checks the invariants after every step. */
  #check(): void {
    const status = this.server.server?.status()
    this.invariants.check(status)
    this.bounds.check(this, status)
    this.queues.check(this, status)
    this.#answers.check()
    this.#rights.check()
    this.mail.invariants.check(status)
    this.mail.watch.check()
  }

  /** Returns the time of the last action. */
  #schedule(gapMs: number): number {
    const { time, random } = this.machine
    const { actions: chosen } = this.#part
    let atMs = 0
    for (let number = 1; number <= actionCount; number++) {
      const dice = random.fork(`action ${number}`)
      atMs += dice.fraction('time until the action') * 2 * gapMs
      if (chosen?.includes(number) ?? true) time.alarm(atMs, () => this.#apply(number, dice))
    }
    return atMs
  }

  #apply(number: number, dice: SeededRandom): void {
    this.dice = dice
    this.trace.headed(() => {
      const name = this.#actions.apply(this)
      if (name === undefined) return undefined
      this.#applied.push(number)
      return `${number}: ${name}`
    })
  }
}

/** Resolves when every promise that can be settled has been settled: ticks run after all queued microtasks. */
const microtasks = () => new Promise<void>((resolve) => process.nextTick(resolve))
