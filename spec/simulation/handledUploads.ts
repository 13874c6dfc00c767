import type { MessageReceipt } from '../../lib/client/messages/messageReceipts.ts'
import type { Upload } from '../../lib/client/uploads/upload.ts'
import { OspError } from '../../lib/errors.ts'
import type { FileNotice, SentFile } from '../../lib/ports/storage.ts'
import { bytesOfHex, hex } from '../../lib/runtime/hex.ts'
import type { ClientActor } from './clientActor.ts'
import type { ClientRun } from './clientRun.ts'
import { type FileNotices, notified } from './fileNotices.ts'
import type { SimulatedFile } from './files.ts'
import type { MessageInvariants } from './messageInvariants.ts'
import { keyOf } from './post.ts'
import type { VirtualTime } from './time.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'

/** The parts of a world that the receipts of its uploads are checked against. */
interface HandledParts {
  readonly trace: Trace
  readonly machine: { readonly time: VirtualTime }
  readonly tokens: Pick<Tokens, 'mayFail'>
  readonly clients: readonly ClientActor[]
  readonly stored: { readonly notices: FileNotices }
  readonly mail: { readonly users: readonly string[]; readonly invariants: MessageInvariants }
}

/** An upload whose receipts a run of a program awaits. */
interface Awaiting {
  readonly run: ClientRun
  readonly file: SimulatedFile
  /** Once it is done. */
  sent?: SentFile | OspError
}

/** Checks `Upload.handled` and `Upload.receipts`. */
export class HandledUploads {
  readonly #parts: HandledParts
  readonly #awaiting = new Set<Awaiting>()

  constructor(parts: HandledParts) {
    this.#parts = parts
  }

  /** A program follows an upload of a file with receipts. */
  follow(run: ClientRun, upload: Upload, file: SimulatedFile): void {
    const awaiting: Awaiting = { run, file }
    this.#awaiting.add(awaiting)
    const done = upload.done.then(
      (sent) => sent,
      (error: unknown) => OspError.from(error),
    )
    void done.then((sent) => {
      awaiting.sent = sent
    })
    const settled = async (check: (sent: SentFile | OspError) => string | undefined) => {
      this.#awaiting.delete(awaiting)
      const failure = check(await done)
      if (failure && run.process.alive) this.#parts.trace.fail(`${run.process.name} awaits ${file.path}: ${failure}`)
    }
    const handled = file.iteratesReceipts ? this.#iterated(upload, file) : upload.handled
    handled.then(
      (receipts) => settled((sent) => this.#resolved(file, receipts, sent)),
      (reason: unknown) => settled((sent) => this.#rejected(run, file, OspError.from(reason), sent)),
    )
  }

  /** Whether no upload awaits receipts that can still arrive, after all faults have stopped. */
  get isSettled(): boolean {
    return this.#unsettled.length === 0
  }

  /** Checks that no upload awaits receipts. One program of each user then takes those that no upload has got. */
  settled(): void {
    for (const { run, file } of this.#unsettled)
      this.#parts.trace.fail(`${run.process.name} never learns that ${file.path} was handled`)
    for (const { file, sent } of this.#awaiting) if (sent && !(sent instanceof OspError)) this.#keeps(file, sent)
    const ofUsers = new Map(this.#parts.clients.map((client) => [client.user, client]))
    for (const client of ofUsers.values()) client.takeReceipts()
  }

  /**
   * An upload of which one message was lost keeps the receipts of the others until its program ends: all of them for `handled`, and
   * for an iterator those that follow the receipts of the users to whom the file was sent.
   */
  #keeps({ user, iteratesReceipts }: SimulatedFile, { notice, notified: other }: SentFile): void {
    const { receipts } = this.#parts.mail.invariants
    const key = ({ id }: FileNotice) => keyOf(user, bytesOfHex(id))
    if (notice && !iteratesReceipts) receipts.kept(key(notice))
    if (notice && iteratesReceipts && receipts.haveArrived(key(notice), notice.recipients)) return
    if (other) receipts.kept(key(other))
  }

  /** Checks that no upload of a program that has ended awaits receipts. */
  ended(run: ClientRun): void {
    const { time } = this.#parts.machine
    const check = ({ file }: Awaiting) =>
      this.#parts.trace.fail(`${run.process.name} has ended, and awaits ${file.path}`)
    time.alarm(time.now(), () => [...this.#awaiting].filter((each) => each.run === run).forEach(check))
  }

  /** Without programs of all recipients, receipts are missing, and messages whose records were damaged have none. */
  get #unsettled(): readonly Awaiting[] {
    const { users, invariants } = this.#parts.mail
    if (invariants.hasLosses) return []
    return [...this.#awaiting].filter(
      ({ run, file }) => run.process.alive && [notified, ...file.to].every((user) => users.includes(user)),
    )
  }

  async #iterated(upload: Upload, { user }: SimulatedFile): Promise<readonly MessageReceipt[]> {
    const found: MessageReceipt[] = []
    for await (const receipt of upload.receipts()) {
      this.#parts.mail.invariants.receipts.got(user, receipt)
      found.push(receipt)
    }
    return found
  }

  /** Returns what is wrong with the receipts of an upload. */
  #resolved(file: SimulatedFile, receipts: readonly MessageReceipt[], sent: SentFile | OspError): string | undefined {
    if (sent instanceof OspError) return `it is handled, and has failed: ${sent.code}`
    const { invariants } = this.#parts.mail
    if (!file.iteratesReceipts) for (const receipt of receipts) invariants.receipts.got(file.user, receipt)
    const { notice, notified: other } = sent
    if (!notice || !other) return 'it is handled, and was stored before'
    const expected = [notice, other].flatMap(({ id, recipients }) => recipients.map((user) => `${user} ${id}`)).sort()
    const found = receipts.map(({ recipient, messageId }) => `${recipient} ${messageId}`).sort()
    if (found.join() !== expected.join()) return `it has the receipts ${found.join(', ')}, not ${expected.join(', ')}`
    const users = [...file.to, notified]
    if (receipts.length !== users.length || !receipts.every(({ recipient }) => users.includes(recipient)))
      return `it has receipts of other users than ${users.join(', ')}`
    return receipts.map((receipt) => this.#about(file, receipt, sent)).find((failure) => failure !== undefined)
  }

  /** Returns what is wrong with the message of a receipt. */
  #about({ user, storedName }: SimulatedFile, { messageId }: MessageReceipt, sent: SentFile): string | undefined {
    const { stored, mail } = this.#parts
    const key = keyOf(user, bytesOfHex(messageId))
    const file = stored.notices.referenceOf(key)
    if (!file || mail.invariants.isDamaged(key)) return undefined
    if (file.fileName !== storedName) return `it has a receipt of a message about ${file.fileName}`
    return hex(file.fileDigest) === sent.digest ? undefined : 'it has a receipt of a message about another version'
  }

  /** Returns what is wrong with an error. */
  #rejected(
    { process, isLeaving }: Pick<ClientRun, 'process' | 'isLeaving'>,
    file: SimulatedFile,
    { code }: OspError,
    sent: SentFile | OspError,
  ): string | undefined {
    this.#parts.trace.tell(`${process.name} awaits ${file.path}: ${code}`)
    if (sent instanceof OspError) {
      return code === sent.code ? undefined : `it has failed with ${sent.code}, and is not handled: ${code}`
    }
    if (code === 'file-exists' && sent.notified === undefined) return undefined
    if (code === 'closed' && isLeaving) return undefined
    if (code === 'unauthorized' && this.#parts.tokens.mayFail(file.user)) return undefined
    return `it is stored, and is not handled: ${code}`
  }
}
