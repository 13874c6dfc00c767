import { type Client, createClient } from '../client/client.ts'
import type { Upload } from '../client/upload.ts'
import { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'
import { decode, encode, type Message } from '../wire/message.ts'
import { events } from '../wire/protocol.ts'
import type { SimulatedFile } from './files.ts'
import { asSent, type Heard } from './network.ts'
import { SimulatedProcess } from './process.ts'
import { SimulatedTasks } from './tasks.ts'
import type { Program, World } from './world.ts'

export interface ClientActorOptions {
  readonly name: string
  readonly user: string
  /** It sends as many files at once as it likes, whatever the server says. */
  readonly heedless: boolean
  /** Its list of tasks outlives its processes. */
  readonly keeps: boolean
}

/** What a client may be told for good without a fault of anybody. */
const fair = ['superseded', 'cancelled', 'source-changed', 'file-exists']

/**
 * A user's program that sends files. Killed and started again it sends those that it has not seen done: from its list of
 * tasks, if it keeps one.
 */
export class ClientActor implements Program {
  readonly name: string
  readonly user: string
  /** What it has still to send. */
  readonly wanted = new Set<SimulatedFile>()
  readonly #world: World
  /** It sends as many files at once as it likes, whatever the server says. */
  readonly #heedless: boolean
  /** Its list of tasks, if it keeps one. */
  readonly #tasks: SimulatedTasks | undefined
  /** What that list has accepted, and nobody has cancelled. */
  readonly #accepted = new Set<SimulatedFile>()
  readonly #followed = new WeakSet<Upload>()
  #runs = 0
  #process: SimulatedProcess | undefined
  #client: Client | undefined
  /** Those of all its runs. */
  readonly #clients: Client[] = []

  constructor(world: World, { name, user, heedless, keeps }: ClientActorOptions) {
    this.#world = world
    this.#heedless = heedless
    this.#tasks = keeps ? new SimulatedTasks() : undefined
    this.name = name
    this.user = user
  }

  get running(): boolean {
    return this.#process !== undefined
  }

  /** Its uploads that are not over. */
  get open(): Upload[] {
    return [...(this.#client?.uploads ?? [])].filter(({ phase }) => !['done', 'failed', 'cancelled'].includes(phase))
  }

  start(): void {
    if (this.#process) return
    const { machine, network } = this.#world
    const process = new SimulatedProcess(`${this.name} ${++this.#runs}`, machine)
    this.#process = process
    this.#client = createClient({
      to: network.transportOf(process, this.#heedless ? withoutBound : asSent),
      user: this.user,
      platform: process.platform,
      software: 'simulation',
      state: this.#tasks?.stateOf(process, this.#world.files),
    })
    this.#clients.push(this.#client)
    this.#world.tell(`${process.name} starts`)
    if (this.#tasks) void this.#restore(this.#client)
    else for (const file of this.wanted) this.#send(file)
  }

  /** Takes up its list, which has all that it has accepted, and sends what it has not. */
  async #restore(client: Client): Promise<void> {
    const uploads = await client.uploads.restore()
    const listed = new Set((await client.uploads.tasks()).map(({ name }) => name))
    for (const file of this.#accepted) {
      if (!listed.has(file.name)) this.#world.fail(`${this.name} has forgotten the task of ${file.name}`)
    }
    for (const upload of uploads) this.#followNamed(upload)
    const names = new Set(uploads.map(({ name }) => name))
    for (const file of this.wanted) if (!names.has(file.name)) this.#send(file)
  }

  #followNamed(upload: Upload): void {
    const file = this.#world.files.find(({ name }) => name === upload.name)
    if (file) {
      this.wanted.add(file)
      this.#follow(upload, file)
    } else this.#world.fail(`${this.name} has a task that nobody gave it: ${upload.name}`)
  }

  kill(): void {
    const process = this.#process
    if (!process) return
    this.#world.tell(`${process.name} is killed`)
    process.kill()
    this.#world.network.cut((link) => link.of(process))
    this.#process = undefined
    this.#client = undefined
  }

  /**
   * The world is at its end. Node keeps a signal of signals that somebody hears for good, so that what a killed process
   * has waited for would keep its whole world in memory.
   */
  letGo(): void {
    this.#process?.kill()
    for (const client of this.#clients) client.close().catch(() => {})
  }

  send(file: SimulatedFile): void {
    if (this.wanted.has(file)) return
    this.wanted.add(file)
    this.#send(file)
  }

  /** Pauses an upload, or all. */
  pause(upload?: Upload): void {
    this.#steer(`pauses ${upload?.name ?? 'all'}`, () => this.#client?.uploads.pause(upload && [upload.id]))
  }

  resume(): void {
    this.#steer('resumes', () => this.#client?.uploads.resume())
  }

  cancel(upload: Upload): void {
    for (const file of this.#accepted) if (file.name === upload.name) this.#accepted.delete(file)
    this.#steer(`cancels ${upload.name}`, () => this.#client?.uploads.cancel([upload.id]))
  }

  #steer(what: string, act: () => Promise<void> | undefined): void {
    if (!this.#process) return
    this.#world.tell(`${this.#process.name} ${what}`)
    act()?.catch((error: unknown) => this.#ended(what, error))
  }

  #send(file: SimulatedFile): void {
    const process = this.#process
    if (!process) return
    this.#client?.uploads.add(file.sourceFor(process), { digest: file.algorithm }).then(
      (upload) => {
        if (this.#tasks) this.#accepted.add(file)
        this.#follow(upload, file)
      },
      (error: unknown) => this.#ended(`adds ${file.name}`, error),
    )
  }

  #follow(upload: Upload, file: SimulatedFile): void {
    if (this.#followed.has(upload)) return
    this.#followed.add(upload)
    const who = this.#process?.name
    upload.on('phase', (phase) => this.#world.tell(`${who} ${phase} ${file.name} ${upload.why?.code ?? ''}`.trimEnd()))
    upload.finished.then(
      (sent) => {
        this.wanted.delete(file)
        this.#world.invariants.finished(file, sent)
      },
      (error: unknown) => {
        this.wanted.delete(file)
        this.#ended(`sends ${file.name}`, error)
      },
    )
  }

  #ended(what: string, error: unknown): void {
    const { code, message } = OspError.from(error)
    this.#world.tell(`${this.name} ${what}: ${code}`)
    if (!fair.includes(code)) this.#world.fail(`${this.name} ${what}: ${code}: ${message}`)
  }
}

const withoutBound: Heard = (frame) => {
  if (frame.event !== events.HelloAck.number) return frame
  return { ...frame, payload: encode({ ...(decode(frame) as Message<'HelloAck'>), maxUploads: clientLimits.uploads }) }
}
