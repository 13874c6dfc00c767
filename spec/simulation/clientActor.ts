import type { Upload } from '../../lib/client/uploads/upload.ts'
import { type ClientParts, ClientRun } from './clientRun.ts'
import { SimulatedDigests } from './digests.ts'
import type { SimulatedFile } from './files.ts'
import { SimulatedProcess } from './process.ts'
import type { Program } from './program.ts'
import { SimulatedTasks } from './tasks.ts'

export interface ClientActorOptions {
  readonly name: string
  readonly user: string
  /** It sends any number of files at once, whatever the limit of the server. */
  readonly heedless: boolean
  /** Its list of tasks outlives its processes. */
  readonly keeps: boolean
  /** The client remembers the digests of its files. */
  readonly remembers: boolean
}

/** How long a program runs that only changes the list of tasks. */
const editingMs = 5_000

/**
 * A user's program that sends files. After a kill it sends the unfinished ones again: from its list of tasks, if it has
 * one. While it does not run, another program can change that list.
 */
export class ClientActor implements Program {
  readonly name: string
  readonly user: string
  /** It sends any number of files at once, whatever the limit of the server. */
  readonly heedless: boolean
  /** Its list of tasks, if it has one. */
  readonly tasks: SimulatedTasks | undefined
  readonly digests: SimulatedDigests | undefined
  /** Whether its runs take the receipts that none of their uploads awaits. */
  takesReceipts = false
  /** The files that it has yet to send. */
  readonly wanted = new Set<SimulatedFile>()
  /** The files that its list has accepted and that are neither finished nor cancelled. */
  readonly accepted = new Set<SimulatedFile>()
  readonly #parts: ClientParts
  /** The latest change of stored files when it began to send a file. */
  readonly #since = new Map<SimulatedFile, number>()
  readonly #runs: ClientRun[] = []
  #run: ClientRun | undefined
  /** Whether the run is that of another program, which only changes the list, or is ending. */
  #isAside = false

  constructor(parts: ClientParts, { name, user, heedless, keeps, remembers }: ClientActorOptions) {
    this.#parts = parts
    this.heedless = heedless
    this.tasks = keeps ? new SimulatedTasks() : undefined
    this.digests = remembers ? new SimulatedDigests() : undefined
    this.name = name
    this.user = user
  }

  get running(): boolean {
    return this.#run !== undefined
  }

  /** The current run, including one that only changes the list. */
  get run(): ClientRun | undefined {
    return this.#run
  }

  get process(): SimulatedProcess | undefined {
    return this.#run?.process
  }

  /** Its unfinished uploads. */
  get open(): Upload[] {
    return (!this.process?.frozen && this.#own?.open) || []
  }

  /** Whether it has sent all files; after all faults have stopped. */
  get isSettled(): boolean {
    return this.wanted.size === 0 && this.#own !== undefined
  }

  /** Ids of the unfinished tasks in its list, while it does not run. */
  get left(): readonly number[] {
    if (this.#run) return []
    return [...(this.tasks?.kept.values() ?? [])].flatMap(({ id, state }) =>
      state === 'done' || state === 'failed' ? [] : [id],
    )
  }

  start(): void {
    if (this.#run) return
    const run = this.#begin(this.name)
    this.#parts.trace.tell(`${run.process.name} starts`)
    this.#parts.stored?.started(this, run)
    if (this.tasks) run.restore()
    else {
      for (const file of this.wanted) run.send(file)
      if (this.takesReceipts) run.takeReceipts()
    }
  }

  /** Whether it runs normally, with nothing paused. */
  heal(): void {
    this.process?.thaw()
    this.start()
    this.resume()
  }

  freeze(ms: number): void {
    if (!this.process) return
    this.#parts.trace.tell(`${this.process.name} freezes: ${ms} ms`)
    this.process.freezeFor(ms)
  }

  kill(): void {
    if (!this.process) return
    this.#parts.trace.tell(`${this.process.name} is killed`)
    this.#gone()
  }

  end(): void {
    const run = this.#own
    if (!run) return
    this.#isAside = true
    run.end(() => this.#gone())
  }

  /** Another program acts on a task of the list, and ends. */
  editTasks(id: number, how: 'pause' | 'resume' | 'cancel'): void {
    if (this.#run) return
    const name = this.tasks?.kept.get(id)?.name
    const run = this.#begin(`${this.name} task editor`)
    this.#isAside = true
    if (how === 'cancel') for (const file of this.accepted) if (file.name === name) this.accepted.delete(file)
    run.editTasks(`${how}s ${name}`, (uploads) => uploads[how]([id]))
    run.process.within(editingMs, () =>
      run.end(() => {
        this.#gone()
        if (this.#parts.healed) this.heal()
      }),
    )
  }

  /**
   * Ends the program at the end of the world. Node keeps a combined signal that has listeners permanently, so a killed
   * process could keep its whole world in memory.
   */
  letGo(): void {
    this.process?.kill()
    for (const { client } of this.#runs) client.close().catch(() => {})
  }

  send(file: SimulatedFile): void {
    if (this.wanted.has(file)) return
    this.wanted.add(file)
    this.#since.set(file, this.#parts.stored?.changes ?? 0)
    this.#own?.send(file)
  }

  /** Pauses an upload, or all uploads. */
  pause(upload?: Upload): void {
    this.#own?.editTasks(`pauses ${upload?.name ?? 'all'}`, (uploads) => uploads.pause(upload && [upload.id]))
  }

  resume(): void {
    this.#own?.editTasks('resumes', (uploads) => uploads.resume())
  }

  cancel(upload: Upload): void {
    for (const file of this.accepted) if (file.name === upload.name) this.accepted.delete(file)
    this.#own?.editTasks(`cancels ${upload.name}`, (uploads) => uploads.cancel([upload.id]))
  }

  /** Takes the receipts that no upload awaits, from now on. */
  takeReceipts(): void {
    this.takesReceipts = true
    this.#own?.takeReceipts()
  }

  /** Forgets an upload that has ended, which need not be listed forever. */
  over(file: SimulatedFile, isStillWanted = false): void {
    if (!isStillWanted) {
      this.wanted.delete(file)
      this.#parts.stored?.over(file)
    }
    this.accepted.delete(file)
  }

  /** Returns the latest change of stored files when it began to send a file. */
  sentSince(file: SimulatedFile): number {
    return this.#since.get(file) ?? 0
  }

  isLeaving(run: ClientRun): boolean {
    return run === this.#run && this.#isAside
  }

  /** The token of a run was changed without its knowledge, so it must restart. */
  refused(run: ClientRun): void {
    const { time } = this.#parts.machine
    time.alarm(time.now(), () => {
      if (this.#run !== run) return
      this.kill()
      if (this.#parts.healed) this.heal()
    })
  }

  get #own(): ClientRun | undefined {
    return this.#isAside ? undefined : this.#run
  }

  #begin(name: string): ClientRun {
    const process = new SimulatedProcess(`${name} ${this.#runs.length + 1}`, this.#parts.machine)
    const run = new ClientRun(this.#parts, this, process)
    this.#run = run
    this.#runs.push(run)
    return run
  }

  #gone(): void {
    const { process } = this
    if (!process) return
    process.kill()
    this.#parts.network.cut((link) => link.of(process))
    this.#run = undefined
    this.#isAside = false
  }
}
