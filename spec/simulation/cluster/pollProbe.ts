import type { Limits } from '../../../lib/limits.ts'
import type { Mail, MailServer } from '../mail.ts'
import { Post } from '../post.ts'
import type { Machine } from '../process.ts'
import type { Trace } from '../trace.ts'
import type { RegistrationWatch } from './registrationWatch.ts'
import type { StorePaths } from './storePath.ts'
import type { StoreWatch } from './storeWatch.ts'

/** The time within which a stored message is sent to its recipient without a notification. */
const deliveredMs = 2_000

/** The parts of a world that a probe uses. */
interface ProbeParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly paths: StorePaths
  readonly mail: Mail
  readonly limits: Pick<Limits, 'deliveryWindow' | 'deliveryBytes'>
  readonly server: Pick<MailServer, 'mailboxes'>
}

/** Sends messages while no notification arrives, and checks that polling finds each of them in time. */
export class PollProbe {
  readonly #parts: ProbeParts
  readonly #untold = new Set<string>()

  constructor(parts: ProbeParts, stored: StoreWatch, registrations: RegistrationWatch) {
    this.#parts = parts
    stored.stored = (user, seq) => {
      const own = parts.mail.programs.filter((program) => program.user === user).map(({ recipient }) => recipient)
      for (const recipient of new Set(own)) this.#stored(user, recipient, seq)
    }
    registrations.delivered = (recipient, seq) => this.#untold.delete(`${recipient} ${seq}`)
  }

  #isOn = false

  begin(): void {
    this.#isOn = true
    this.#parts.paths.silentUntilMs = Number.POSITIVE_INFINITY
  }

  end(): void {
    this.#isOn = false
    this.#parts.paths.silentUntilMs = 0
  }

  /** Sends a message to a user from the program of another one, if there is one. */
  send(user: string): void {
    const { programs, invariants } = this.#parts.mail
    const running = programs.filter(({ run }) => run)
    const program = running.find((each) => each.user !== user) ?? running[0]
    if (!program) return
    const number = ++program.posts
    const id = new Uint8Array(16)
    new DataView(id.buffer).setUint32(12, ++this.#parts.mail.ids)
    const content = new TextEncoder().encode(`${program.name}#${number} `)
    const { name, user: sender } = program
    const kind = { forged: false, poison: false, timeToLiveMs: undefined, asksReceipts: false }
    const post = new Post({ id, sender, program: name, number, to: [user], content, ...kind })
    invariants.added(post)
    program.send(post)
  }

  #stored(user: string, recipient: string, seq: number): void {
    if (!this.#isOn) return
    const { machine } = this.#parts
    this.#untold.add(`${recipient} ${seq}`)
    machine.time.alarm(machine.time.now() + deliveredMs, () => void this.#late(user, recipient, seq))
  }

  async #late(user: string, recipient: string, seq: number): Promise<void> {
    const { trace, limits, server } = this.#parts
    const { messages = 0, bytes = 0 } = (await server.mailboxes?.levels())?.find((level) => level.user === user) ?? {}
    // An earlier message that its program does not handle can fill the window.
    const isFull = messages > 1 && (messages > limits.deliveryWindow || bytes > limits.deliveryBytes)
    if (this.#untold.has(`${recipient} ${seq}`) && !isFull)
      trace.fail(`message ${seq} was not sent to ${recipient} within ${deliveredMs} ms`)
  }
}
