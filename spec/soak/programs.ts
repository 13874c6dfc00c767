import { mkdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Acked, type Handed, type Intent, isIntent, linesOf } from '../support/chat/history.ts'
import { start } from '../support/commands.ts'
import { patterned } from '../support/memorySource.ts'
import type { Running } from '../support/processes.ts'
import type { SeededRandom } from '../support/random.ts'
import { startSource } from '../support/sources.ts'
import type { HandledMessage, SentMessage, SentUpload } from './history.ts'
import { sha256 } from './servers.ts'

const senderNames = ['writer0', 'writer1']
const receiverNames = ['reader0', 'reader1', 'reader2']
/** The time between two messages of a sender. */
const sendMs = '100'
/** Time without any progress at the end, after which the run fails. It only detects hangs. */
const stallMs = 150_000

interface Program {
  kills: number
  running: Running
}

/**
 * Programs that send and receive messages and files as processes. They can be killed, and are started again with the same state
 * directory. A sender keeps a journal of its messages. After a kill it sends the unacknowledged ones again under their ids, in
 * their order, before it sends others.
 */
export class Programs implements AsyncDisposable {
  readonly uploads: SentUpload[] = []
  readonly #port: number
  readonly #directory: string
  readonly #random: SeededRandom
  readonly #senders = new Map<string, Program>()
  readonly #receivers = new Map<string, Program>()
  #sending: Running | undefined
  readonly #endNow = () => {
    for (const { running } of this.#all) running.child.kill('SIGKILL')
    this.#sending?.child.kill('SIGKILL')
  }

  constructor(port: number, directory: string, random: SeededRandom) {
    this.#port = port
    this.#directory = join(directory, 'programs')
    this.#random = random
    mkdirSync(this.#directory)
    process.once('exit', this.#endNow)
    for (const name of receiverNames) this.#receivers.set(name, { kills: 0, running: this.#receiver(name, 0) })
    for (const name of senderNames) this.#senders.set(name, { kills: 0, running: this.#sender(name) })
  }

  /** Kills a sender, and starts it again after `meanwhile`. Resolves with a description. */
  async killSender(meanwhile: () => Promise<void>): Promise<string> {
    const name = this.#random.pick(senderNames, 'a sender')
    await this.#kill(this.#senders.get(name), meanwhile, () => this.#sender(name))
    return `sender ${name} was killed and restarted`
  }

  /** Kills a receiver, and starts it again after `meanwhile`. Resolves with a description. */
  async killReceiver(meanwhile: () => Promise<void>): Promise<string> {
    const name = this.#random.pick(receiverNames, 'a receiver')
    await this.#kill(this.#receivers.get(name), meanwhile, (kills) => this.#receiver(name, kills))
    return `receiver ${name} was killed and restarted`
  }

  /** Sends a file with `osp send`, which is killed meanwhile and started again after `meanwhile`. Resolves with a description. */
  async killUpload(meanwhile: () => Promise<void>): Promise<string> {
    const name = `sent-${this.uploads.length}`
    const bytes = patterned(this.#random.integer(14_000_000, 24_000_000, 'bytes'), this.uploads.length + 1_000)
    await writeFile(join(this.#directory, name), bytes)
    const upload = { path: `sender/${name}`, digest: sha256(bytes), isStored: false }
    this.uploads.push(upload)
    const send = () => {
      const to = ['--server', `127.0.0.1:${this.#port}`, '--user', 'sender', '--retry-for', '10m']
      const options = { cwd: this.#directory, env: { OSP_STATE: join(this.#directory, 'osp') } }
      return start('osp', ['send', ...to, '--limit-rate', '4M', '--json', name], options)
    }
    this.#sending = send()
    await this.#sending.printed(this.#random.pick([/"durable":[1-9]\d{5}/u, /"durable":[2-9]\d{6}/u], 'progress'))
    await this.#sending.kill()
    await meanwhile()
    this.#sending = send()
    const { code } = await this.#sending.ended
    if (code !== 0) throw new Error(`osp send has ended with ${code}: ${this.#sending.stderr}`)
    upload.isStored = true
    return `osp send was killed at a part of ${bytes.length} bytes and restarted`
  }

  /** Ends the senders, and resolves when the receivers have handled all messages that were acknowledged. */
  async finish(): Promise<void> {
    for (const [name, { running }] of this.#senders) {
      running.child.kill('SIGTERM')
      const { code } = await running.ended
      if (code !== 0) throw new Error(`the sender ${name} has ended with ${code}: ${running.stderr}`)
    }
    let handled = -1
    for (let untilMs = 0; this.#due > 0; await pause(200)) {
      const { length } = this.handled
      if (length > handled) untilMs = performance.now() + stallMs
      else if (performance.now() > untilMs) throw new Error(`${this.#due} messages were not handled: nothing happens`)
      handled = length
    }
    for (const { running } of this.#receivers.values()) await running.kill()
  }

  get sent(): SentMessage[] {
    return senderNames.flatMap((sender) => {
      const lines = linesOf<Intent | Acked>(this.#journalOf(sender))
      const acked = new Set(lines.flatMap((line) => (isIntent(line) ? [] : line.acked)))
      const outcomeOf = (n: number) => (acked.has(n) ? 'acknowledged' : 'unknown')
      return lines.filter(isIntent).map(({ n, to }): SentMessage => ({ sender, n, to, outcome: outcomeOf(n) }))
    })
  }

  get handled(): HandledMessage[] {
    return receiverNames.flatMap((recipient) =>
      Array.from({ length: (this.#receivers.get(recipient)?.kills ?? 0) + 1 }, (_, kills) =>
        linesOf<Handed>(this.#journalOf(recipient, kills)).map(
          ({ from: sender, n, attempt }): HandledMessage => ({
            recipient,
            sender,
            n,
            attempt,
            state: recipient,
            kills,
          }),
        ),
      ).flat(),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { running } of this.#all) await running.kill()
    await this.#sending?.kill()
    process.off('exit', this.#endNow)
  }

  get #all(): readonly Program[] {
    return [...this.#senders.values(), ...this.#receivers.values()]
  }

  /** The number of deliveries of acknowledged messages that are missing. */
  get #due(): number {
    const keyOf = (sender: string, n: number, recipient: string) => `${sender} ${n} ${recipient}`
    const handled = new Set(this.handled.map(({ sender, n, recipient }) => keyOf(sender, n, recipient)))
    const due = this.sent
      .filter(({ outcome }) => outcome === 'acknowledged')
      .flatMap(({ sender, n, to }) => to.map((recipient) => keyOf(sender, n, recipient)))
    return due.filter((key) => !handled.has(key)).length
  }

  async #kill(
    program: Program | undefined,
    meanwhile: () => Promise<void>,
    restart: (kills: number) => Running,
  ): Promise<void> {
    if (!program) throw new RangeError('there is no such program')
    const { exitCode } = program.running.child
    if (exitCode !== null) throw new Error(`a program has ended with ${exitCode}: ${program.running.stderr}`)
    await program.running.kill()
    await meanwhile()
    program.kills++
    program.running = restart(program.kills)
  }

  #sender(name: string): Running {
    const args = [`${this.#port}`, name, this.#journalOf(name), ...receiverNames]
    return startSource('spec/support/chat/sender.ts', args, { env: { SEND_MS: sendMs } })
  }

  #receiver(name: string, kills: number): Running {
    const args = [`${this.#port}`, name, this.#journalOf(name, kills), join(this.#directory, name)]
    return startSource('spec/support/chat/listener.ts', args)
  }

  #journalOf(name: string, kills = 0): string {
    return join(this.#directory, `${name}-${kills}.journal`)
  }
}
