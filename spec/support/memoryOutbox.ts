import { memoryState } from '../../lib/client/runningClient.ts'
import { OspError } from '../../lib/errors.ts'
import type { ClientState, OutboxStore, QueuedMessage } from '../../lib/ports/clientState.ts'
import type { Answering, Control } from '../../lib/ports/control.ts'

/** A change of an outbox. */
export type OutboxChange = 'add' | 'mark' | 'remove'

/** An outbox that outlives its programs, which share it. */
export class MemoryOutbox {
  readonly kept = new Map<number, QueuedMessage>()
  /** Whether a program has used it, possibly before the specification began. */
  isUsed: boolean
  #serving: Answering | undefined

  constructor(isUsed = false) {
    this.isUsed = isUsed
  }

  /** Returns the texts of the messages, without other parts. */
  get texts(): readonly string[] {
    return [...this.kept.values()].map(({ body }) => new TextDecoder().decode(body.subarray(1)))
  }

  /** Returns the state as a new program finds it. */
  program(): OutboxProgram {
    return new OutboxProgram(this)
  }

  /** Connects the programs. A request of another program ends with `link-lost` when the serving program is killed. */
  controlOf(program: OutboxProgram): Control {
    return {
      serve: async (answering) => {
        if (this.#serving) throw new OspError('data-locked')
        this.#serving = answering
        this.isUsed = true
        const close = async () => {
          if (this.#serving === answering) this.#serving = undefined
        }
        program.killed.signal.addEventListener('abort', close)
        return { close, [Symbol.asyncDispose]: close }
      },
      ask: async (request, onAnswer = () => {}, signal = new AbortController().signal) => {
        const answering = this.#serving
        if (!answering) throw new OspError('unreachable')
        const owner = this.#owner
        let last: unknown
        const reply = (answer: unknown) => {
          if (owner?.killed.signal.aborted) return
          last = JSON.parse(JSON.stringify(answer))
          onAnswer(last)
        }
        const lost = new Promise<never>((_, reject) => {
          owner?.killed.signal.addEventListener('abort', () => reject(new OspError('link-lost')))
        })
        lost.catch(() => {})
        await Promise.race([answering(JSON.parse(JSON.stringify(request)), reply, signal), lost])
        return last
      },
    }
  }

  #owner: OutboxProgram | undefined

  owned(program: OutboxProgram): void {
    this.#owner = program
  }
}

/** The outbox as one program sees it, until the program is killed. */
export class OutboxProgram {
  readonly killed = new AbortController()
  /** Awaited before and after a change takes effect. */
  before: (change: OutboxChange) => Promise<void> | void = () => {}
  after: (change: OutboxChange) => Promise<void> | void = () => {}
  readonly #outbox: MemoryOutbox

  constructor(outbox: MemoryOutbox) {
    this.#outbox = outbox
  }

  /** Makes its further changes have no effect. */
  kill(): void {
    this.killed.abort()
  }

  get state(): ClientState {
    const { kept } = this.#outbox
    const store: OutboxStore = {
      isUsed: async () => this.#outbox.isUsed,
      load: async () => {
        this.#outbox.owned(this)
        return [...kept.values()].sort((a, b) => a.number - b.number)
      },
      add: (message) => this.#change('add', () => kept.set(message.number, { ...message, body: message.body.slice() })),
      mark: (numbers, knownUntil) =>
        this.#change('mark', () => {
          for (const number of numbers) {
            const message = kept.get(number)
            if (message) kept.set(number, { ...message, knownUntil })
          }
        }),
      remove: (numbers) => this.#change('remove', () => numbers.map((number) => kept.delete(number))),
      control: this.#outbox.controlOf(this),
    }
    return { ...memoryState(), outbox: store }
  }

  async #change(change: OutboxChange, act: () => void): Promise<void> {
    const { signal } = this.killed
    const dead = new Promise<void>(() => {})
    await this.before(change)
    if (signal.aborted) return await dead
    act()
    await this.after(change)
    if (signal.aborted) return await dead
  }
}
