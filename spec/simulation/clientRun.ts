import type { Files } from '../../lib/client/files/files.ts'
import { memoryState, RunningClient } from '../../lib/client/runningClient.ts'
import type { Upload } from '../../lib/client/uploads/upload.ts'
import { OspError } from '../../lib/errors.ts'
import { clientLimits, type Limits } from '../../lib/limits.ts'
import { decode, encode, type WireMessage } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import type { Bounds } from './bounds.ts'
import type { ClientActor } from './clientActor.ts'
import type { SimulatedFile } from './files.ts'
import type { HandledUploads } from './handledUploads.ts'
import type { Invariants } from './invariants.ts'
import type { MessageInvariants } from './messageInvariants.ts'
import type { SimulatedNetwork } from './network.ts'
import type { Machine, SimulatedProcess } from './process.ts'
import { asSent, type Heard } from './socket.ts'
import type { StoredFiles } from './storedFiles.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'

/** Permanent errors that a client can get without a fault. */
const fair = ['superseded', 'cancelled', 'source-changed', 'file-exists']

/** Maximum time for ending a program. */
const endingMs = 120_000

/** The parts of a world that a file-sending program uses, and its checks. */
export interface ClientParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly network: SimulatedNetwork
  readonly tokens: Tokens
  readonly limits: Limits
  readonly files: readonly SimulatedFile[]
  readonly bounds: Bounds
  readonly invariants: Invariants
  readonly healed: boolean
  /** Set if programs use stored files. */
  readonly stored: StoredFiles | undefined
  readonly handled: HandledUploads
  readonly mail: { readonly invariants: MessageInvariants }
}

/** One run of a program that sends files. */
export class ClientRun {
  readonly process: SimulatedProcess
  readonly client: RunningClient
  readonly #parts: ClientParts
  readonly #actor: ClientActor
  readonly #followed = new WeakSet<Upload>()
  #isTakingReceipts = false

  constructor(parts: ClientParts, actor: ClientActor, process: SimulatedProcess) {
    const { network, files, tokens } = parts
    this.#parts = parts
    this.#actor = actor
    this.process = process
    const { digests, tasks } = actor
    const own = files.filter(({ user }) => user === actor.user)
    this.client = new RunningClient({
      to: network.transportOf(process, actor.heedless ? withoutBound : asSent),
      user: actor.user,
      token: async () => tokens.said(actor.user),
      platform: process.platform,
      software: 'simulation',
      state: {
        ...(tasks?.stateOf(process, own) ?? memoryState()),
        ...(digests && { digests: digests.storeOf(process, own) }),
      },
    })
  }

  /** Whether it is ending, or has ended. */
  get isLeaving(): boolean {
    return !this.process.alive || this.#actor.isLeaving(this)
  }

  /** Its unfinished uploads. */
  get open(): Upload[] {
    return [...this.client.uploads].filter(({ phase }) => !['done', 'failed', 'cancelled'].includes(phase))
  }

  /** Resumes its list, which must have all that it has accepted, and sends the files that the list does not have. */
  restore(): void {
    this.#restore().catch((error: unknown) => this.#ended('takes up its list', error))
  }

  async #restore(): Promise<void> {
    const { accepted, name, wanted } = this.#actor
    const uploads = await this.client.uploads.restore()
    const listed = new Set((await this.client.uploads.tasks()).map((task) => task.name))
    for (const file of accepted) {
      if (!listed.has(file.name)) this.#parts.trace.fail(`${name} has forgotten the task of ${file.path}`)
    }
    for (const upload of uploads) this.#followNamed(upload)
    const names = new Set(uploads.map((upload) => upload.name))
    for (const file of wanted) if (!names.has(file.name)) this.send(file)
    // Before this, it could get the receipts of the uploads that it restores.
    if (this.#actor.takesReceipts) this.takeReceipts()
  }

  send(file: SimulatedFile): void {
    this.process.awake(() => this.#send(file))
  }

  #send(file: SimulatedFile): void {
    const { algorithm, to, asksReceipts } = file
    const metadata = file.metadata && { ...file.metadata, by: this.#actor.name }
    const options = { digest: algorithm, metadata, to, receipt: asksReceipts }
    this.client.upload(file.sourceFor(this.process), options).then(
      (upload) => {
        // It can have ended by now, if an earlier call was for it.
        if (this.#actor.tasks && this.open.includes(upload)) this.#actor.accepted.add(file)
        this.#follow(upload, file)
      },
      (error: unknown) => this.#ended(`adds ${file.path}`, error),
    )
  }

  /** Takes the receipts that no upload of this run awaits, until the client ends. */
  takeReceipts(): void {
    if (this.#isTakingReceipts) return
    this.#isTakingReceipts = true
    this.process.awake(() => {
      this.#takeReceipts().catch((error: unknown) => this.#ended('takes receipts', error))
    })
  }

  async #takeReceipts(): Promise<void> {
    const { receipts } = this.#parts.mail.invariants
    for await (const receipt of this.client.receipts()) {
      const got = () => receipts.got(this.#actor.user, receipt)
      await this.process.effect(10, 'time to take a receipt', got)
    }
  }

  /** Acts on its uploads. */
  editTasks(what: string, act: (uploads: RunningClient['uploads']) => Promise<void>): void {
    this.process.awake(() => {
      this.#parts.trace.tell(`${this.process.name} ${what}`)
      act(this.client.uploads).then(
        () => {
          if (this.#actor.isLeaving(this)) for (const upload of this.open) this.#followNamed(upload)
        },
        (error: unknown) => this.#ended(what, error),
      )
    })
  }

  /** Sends requests about stored files. Resolves with the result, or with `undefined` after an error, which `fair` may have. */
  ask<T>(
    what: string,
    act: (files: Files) => Promise<T>,
    fair: readonly string[],
  ): Promise<{ readonly value: T } | undefined> {
    return new Promise((resolve) =>
      this.process.awake(() => {
        this.#parts.trace.tell(`${this.process.name} ${what}`)
        const told = (outcome: string) => this.#parts.trace.tell(`${this.process.name} ${what}: ${outcome}`)
        act(this.client.files).then(
          (value) => {
            told('done')
            resolve({ value })
          },
          (error: unknown) => {
            const { code } = OspError.from(error)
            if (fair.includes(code)) told(code)
            else this.#ended(what, error)
            resolve(undefined)
          },
        )
      }),
    )
  }

  /** Closes everything, and then calls `gone`. */
  end(gone: () => void): void {
    const { process, client } = this
    this.#parts.trace.tell(`${process.name} ends`)
    process.within(endingMs, () => this.#parts.trace.fail(`${process.name} does not end`))
    client.close().then(
      () => {
        if (!process.alive) return
        this.#parts.trace.tell(`${process.name} has ended`)
        this.#parts.bounds.ended(process)
        this.#parts.handled.ended(this)
        gone()
      },
      (error: unknown) => this.#parts.trace.fail(`${process.name} could not end: ${error}`),
    )
  }

  #followNamed(upload: Upload): void {
    const { user, name, wanted } = this.#actor
    const file = this.#parts.files.find((other) => other.user === user && other.name === upload.name)
    if (file) {
      wanted.add(file)
      this.#follow(upload, file)
    } else this.#parts.trace.fail(`${name} has an unknown task: ${upload.name}`)
  }

  #follow(upload: Upload, file: SimulatedFile): void {
    if (this.#followed.has(upload)) return
    this.#followed.add(upload)
    const { name } = this.process
    if (file.asksReceipts) this.#parts.handled.follow(this, upload, file)
    upload.on('phase', (phase) =>
      this.#parts.trace.tell(`${name} ${phase} ${file.path} ${upload.error?.code ?? ''}`.trimEnd()),
    )
    upload.done.then(
      (sent) => {
        this.#actor.over(file)
        this.#parts.invariants.finished(file, sent, upload.transferred > 0)
        this.#parts.stored?.finished(file, sent, this.#actor.sentSince(file))
      },
      (error: unknown) => {
        const { code } = OspError.from(error)
        if (code !== 'closed') this.#actor.over(file, code === 'unauthorized')
        this.#ended(`sends ${file.path}`, error, file)
      },
    )
  }

  #ended(what: string, error: unknown, file?: SimulatedFile): void {
    const { code, message } = OspError.from(error)
    const { tokens, limits } = this.#parts
    const { name } = this.process
    this.#parts.trace.tell(`${name} ${what}: ${code}`)
    if (code === 'unauthorized' && tokens.mayFail(this.#actor.user)) {
      this.#actor.refused(this)
      return
    }
    const isTooLarge = code === 'too-large' && file?.versions.some(({ bytes }) => bytes.length > limits.fileBytes)
    const isRejected = code === 'upload-rejected' && file?.versions.some(({ bytes }) => file.hook.refuses(bytes.length))
    const isClosed = code === 'closed' && this.isLeaving
    const isFair = fair.includes(code) || this.#parts.stored?.unsupported.includes(code)
    if (!isFair && !isTooLarge && !isRejected && !isClosed)
      this.#parts.trace.fail(`${name} ${what}: ${code}: ${message}`)
  }
}

const withoutBound: Heard = (frame) => {
  if (frame.event !== events.HelloAck.number) return frame
  return {
    ...frame,
    payload: encode({ ...(decode(frame) as WireMessage<'HelloAck'>), maxUploads: clientLimits.uploads }),
  }
}
