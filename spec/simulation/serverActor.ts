import type { Limits } from '../../lib/limits.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import type { MailboxStore } from '../../lib/ports/mailboxes.ts'
import { type RunningServer, startServer } from '../../lib/server/server.ts'
import { recordKey } from '../../lib/storage/transfers/recordStore.ts'
import type { SeededRandom } from '../support/random.ts'
import type { Bounds } from './bounds.ts'
import type { SimulatedDisk } from './disk.ts'
import { notified } from './fileNotices.ts'
import { largeMailboxes, noQuota } from './generated.ts'
import type { Invariants } from './invariants.ts'
import type { Mail } from './mail.ts'
import type { SimulatedNetwork } from './network.ts'
import type { PlaceWatch } from './placeWatch.ts'
import { type Machine, SimulatedProcess } from './process.ts'
import type { StoredFiles } from './storedFiles.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'
import type { SimulatedHook } from './uploadHook.ts'
import type { UploadWatch } from './uploadWatch.ts'
import { watchedStorage } from './watchedMailboxes.ts'

/** Maximum time for stopping the server. */
const stoppingMs = 120_000

/** The parts of a world that its server uses, and its checks. */
interface ServerParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly network: SimulatedNetwork
  readonly disk: SimulatedDisk
  readonly place: PlaceWatch | undefined
  readonly tokens: Tokens
  readonly bounds: Bounds
  readonly invariants: Invariants
  readonly uploads: UploadWatch
  readonly stored: Pick<StoredFiles, 'notices'>
  readonly hook: SimulatedHook
  readonly mail: Pick<Mail, 'users' | 'invariants' | 'watch' | 'sentIds'>
}

/** The server program: it is started, killed, and restarted. */
export class ServerActor {
  /** Whether the storage counts files and folders, so that the server limits their number. */
  countsFiles = true
  readonly #parts: ServerParts
  #limits: Partial<Limits>
  #runs = 0
  #process: SimulatedProcess | undefined
  #server: RunningServer | undefined
  #mailboxes: MailboxStore | undefined
  #stopping = false
  #failing = false
  #hasFailed = false
  #hasReportedLoss = false
  /** The upload records of the current process. */
  #damagesLogged = 0

  constructor(parts: ServerParts, limits: Partial<Limits>) {
    this.#parts = parts
    this.#limits = limits
  }

  /** The running server, once it listens. */
  get server(): RunningServer | undefined {
    return this.#server
  }

  /** The mailboxes of the running server. */
  get mailboxes(): MailboxStore | undefined {
    return this.#mailboxes
  }

  /** Whether a flush of messages has failed or will fail: errors that the server then logs are expected. */
  get failing(): boolean {
    return this.#failing
  }

  /** Whether some run of the server was failing: its messages may still be in flight. */
  get hasFailed(): boolean {
    return this.#hasFailed
  }

  /** Whether some run has reported unreadable messages. */
  get hasReportedLoss(): boolean {
    return this.#hasReportedLoss
  }

  get running(): boolean {
    return this.#process !== undefined
  }

  /** Whether it runs, and will continue. */
  get isOpen(): boolean {
    return this.#server !== undefined && !this.#stopping
  }

  get process(): SimulatedProcess | undefined {
    return this.#process
  }

  /** Starts it. Returns false if it already runs. */
  start(): boolean {
    if (this.#process) return false
    const { machine, network, disk, place, mail, tokens, stored, hook } = this.#parts
    const process = new SimulatedProcess(`server ${++this.#runs}`, machine)
    this.#process = process
    this.#damagesLogged = 0
    this.#parts.trace.tell(`${process.name} starts`)
    const storage = (place ?? disk).storageOf(process)
    this.#mailboxes = storage.mailboxes
    this.countsFiles = storage.files.usage !== undefined
    const { invariants, watch, sentIds } = mail
    const { notices } = stored
    const checks = { trace: this.#parts.trace, invariants, watch, sentIds, notices }
    startServer({
      platform: process.platform,
      listen: network.transportOf(process),
      storage: mail.users.length > 0 || notices.isOn ? watchedStorage(storage, checks) : storage,
      authenticator: tokens.authenticatorOf(process),
      limits: this.#limits,
      notify: notices.isOn ? [{ user: notified }] : [],
      ...(hook.isOn && { onUpload: hook.of(process) }),
      log: (entry) => process.alive && this.#logged(entry),
    }).then(
      (server) => {
        this.#server = server
        const { damagesAtOpening } = disk
        if (damagesAtOpening > 0 && this.#damagesLogged === 0)
          this.#parts.trace.fail(
            `${process.name} has found ${damagesAtOpening} damaged records of uploads, and does not log it`,
          )
        server.on('stored', (file) => {
          notices.reported(file)
          this.#parts.trace.tell(`${process.name} stored ${file.user}/${file.name}`)
        })
      },
      (error: unknown) => this.#notStarted(process, error),
    )
    return true
  }

  /** Kills it. `power`: unflushed data is lost as well. Returns false if it does not run. */
  kill(power: boolean, dice: SeededRandom): boolean {
    const process = this.#process
    if (!process) return false
    this.#parts.trace.tell(`${process.name} ${power ? 'loses its power' : 'is killed'}`)
    const before = this.#server?.status().uploads ?? []
    process.kill()
    this.#parts.network.cut((link) => link.of(process))
    const { disk, place, invariants } = this.#parts
    if (power) disk.crash(dice)
    this.#gone()
    if (place) place.killed(power)
    else invariants.survived(before)
    return true
  }

  /** Stops it. Returns false if it does not run, is frozen, or is already stopping. */
  stop(): boolean {
    const process = this.#process
    if (!process || !this.#server || this.#stopping || process.frozen) return false
    this.#parts.trace.tell(`${process.name} is stopped`)
    this.#stopping = true
    process.within(stoppingMs, () => this.#parts.trace.fail(`${process.name} does not stop`))
    this.#server.close().then(
      () => {
        if (!process.alive) return
        this.#parts.trace.tell(`${process.name} has stopped`)
        this.#parts.bounds.ended(process, true)
        process.kill()
        this.#gone()
      },
      (error: unknown) => this.#parts.trace.fail(`the server could not stop: ${error}`),
    )
    return true
  }

  /** Freezes it. Returns false if it does not run, or is already frozen. */
  freeze(ms: number): boolean {
    const process = this.#process
    if (!process || process.frozen) return false
    this.#parts.trace.tell(`${process.name} freezes: ${ms} ms`)
    process.freezeFor(ms)
    return true
  }

  /** Makes the next flush of messages fail; after a while the server restarts, which resolves the fault. */
  failFlush(dice: SeededRandom): boolean {
    const process = this.#process
    if (!process || this.#failing || this.#stopping) return false
    this.#parts.trace.tell('a flush fails')
    this.#failing = true
    this.#hasFailed = true
    this.#parts.disk.flushFails = true
    const { time } = this.#parts.machine
    const atMs = time.now() + dice.integer(100, 20_000, 'time until a server with a broken journal is started anew')
    time.alarm(atMs, () => {
      if (process.alive && this.kill(false, dice)) this.start()
    })
    return true
  }

  /**
   * Whether it runs without faults: there is no quota, no full mailbox keeps messages about files waiting, and a restart has
   * removed everything that a failed disk operation kept it from removing.
   */
  heal(dice: SeededRandom): void {
    this.#process?.thaw()
    const { userBytes } = noQuota
    const hasQuota = (this.#limits.userBytes ?? userBytes) < userBytes
    const { isOn: sendsNotices } = this.#parts.stored.notices
    if (this.#stopping || this.#failing || hasQuota || sendsNotices || this.#parts.disk.faults.any)
      this.kill(false, dice)
    this.#limits = { ...this.#limits, ...noQuota, ...(sendsNotices && largeMailboxes) }
    this.start()
  }

  /** A failing disk can keep it from starting. */
  #notStarted(process: SimulatedProcess, error: unknown): void {
    if (!this.#parts.disk.faults.any) this.#parts.trace.fail(`the server did not start: ${error}`)
    if (this.#process !== process) return
    this.#parts.trace.tell(`${process.name} does not start: ${error}`)
    this.#parts.bounds.ended(process, true)
    process.kill()
    this.#gone()
  }

  #logged(entry: LogEntry): void {
    const { level, event } = entry
    const [user, name, text] = [entry.user, entry.name, entry.text].map((field) => String(field ?? ''))
    const { uploads, disk } = this.#parts
    uploads.reason(entry)
    if (event === 'upload-without-record')
      this.#parts.trace.tell(`the server logs ${event} ${entry.removed} ${entry.bytes}`)
    if (event === 'uploads-damaged') this.#damagesLogged++
    if (level !== 'error' || this.#failing) return
    this.#parts.trace.tell(`the server logs ${event} ${user}/${name}: ${text}`)
    const key = recordKey(`${user}`, `${name}`)
    // Without its completion marker, the upload counts as verified (again), and its file can have been removed since.
    const isRotten =
      ['upload-damaged', 'upload-not-recovered'].includes(event) &&
      (disk.faults.rotten.has(key) || (disk.stored !== undefined && disk.rot.hasHitUpload(key)))
    const isLost = event === 'mailboxes-damaged' && disk.rot.any
    if (isLost) this.#hasReportedLoss = true
    if (event === 'uploads-damaged' && disk.rot.anyUpload) return
    const hasFailed = disk.faults.any && /the disk has failed|simulated disk|internal error occurred/u.test(`${text}`)
    if (!isRotten && !isLost && !hasFailed) this.#parts.trace.fail(`the server logged ${JSON.stringify(entry)}`)
  }

  #gone(): void {
    this.#process = undefined
    this.#server = undefined
    this.#mailboxes = undefined
    this.#stopping = false
    this.#failing = false
    this.#parts.disk.flushFails = false
  }
}
