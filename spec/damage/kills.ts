import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Acked, faultsOf, type Handed, type Intent, isIntent, linesOf } from '../support/chat/history.ts'
import { daemon, start } from '../support/commands.ts'
import { MortalProgram } from '../support/mortalProgram.ts'
import { SeededRandom } from '../support/random.ts'
import { startSource } from '../support/sources.ts'
import { turns } from '../support/turns.ts'
import { quickPlace } from './place.ts'
import type { Row } from './table.ts'

export const killColumns: readonly string[] = ['held', 'lost', 'wrong']
export const isBadKill = (column: string): boolean => column !== 'held'

export interface KillOptions {
  readonly seed: number
  /** Number of kills. */
  readonly runs: number
  print(line: string): void
}

const senders = ['sender-0', 'sender-1']
const listeners = ['listener-0', 'listener-1']
const fileBytes = 400_000

/**
 * Kills a daemon and its clients, which send files and messages, at random moments, and restarts each. Counts the
 * acknowledged items, and those that are lost, duplicated or incomplete.
 */
export async function kills({ seed, runs, print }: KillOptions): Promise<Row[]> {
  const random = new SeededRandom(seed)
  await using place = await quickPlace()
  const first = await daemon(join(place.path, 'data'))
  await first.kill()
  const chat = new Chat(place.path, first.port)
  const files = new Files(place.path, first.server)
  const serving = ['serve', '--port', `${first.port}`, '--data', join(place.path, 'data'), '--quiet']
  const server = new MortalProgram(() => start('ospd', serving))
  const programs = new Map<string, MortalProgram>([['daemon', server], ...chat.programs(), ...files.programs()])
  const killed = new Map<string, number>()
  try {
    for (let run = 0; run < runs; run++) {
      const { acknowledged } = chat
      // Kills that follow each other before anything runs again would test nothing.
      await Promise.race([turns(() => chat.acknowledged > acknowledged), pause(10_000)])
      await pause(random.integer(0, 600, 'time until a kill'))
      const name = random.chance(0.4, 'the daemon') ? 'daemon' : random.pick([...programs.keys()], 'victim')
      await programs.get(name)?.killed(() => pause(random.integer(0, 300, 'time until it is back')))
      killed.set(name, (killed.get(name) ?? 0) + 1)
    }
    print(`killed: ${[...killed].map(([name, count]) => `${name} ${count} times`).join(', ')}`)
    return [await chat.row(print), await files.row(print)]
  } finally {
    for (const { running } of programs.values()) await running.kill()
  }
}

/** Programs that send and receive numbered messages, and record them. */
class Chat {
  readonly #directory: string
  readonly #port: number
  readonly #senders = new Map<string, MortalProgram>()

  constructor(directory: string, port: number) {
    this.#directory = directory
    this.#port = port
  }

  programs(): [string, MortalProgram][] {
    const program = (path: string, ...args: string[]) =>
      new MortalProgram(() => startSource(`spec/support/chat/${path}`, [`${this.#port}`, ...args]))
    for (const name of senders) this.#senders.set(name, program('sender.ts', name, this.#journalOf(name), ...listeners))
    const listening = listeners.map((name): [string, MortalProgram] => [
      name,
      program('listener.ts', name, this.#journalOf(name), join(this.#directory, name)),
    ])
    return [...this.#senders, ...listening]
  }

  /** Number of acknowledged messages. */
  get acknowledged(): number {
    const lines = senders.flatMap((name) => linesOf<Intent | Acked>(this.#journalOf(name)))
    return lines.filter((line) => !isIntent(line)).length
  }

  async row(print: (line: string) => void): Promise<Row> {
    for (const { running } of this.#senders.values()) {
      await running.printed(/sending/u)
      running.child.kill('SIGTERM')
      const { code } = await running.ended
      if (code !== 0) throw new Error(`a sender failed: ${running.stderr}`)
    }
    const sent = new Map(senders.map((name) => [name, linesOf<Intent | Acked>(this.#journalOf(name))]))
    const faults = () =>
      faultsOf(sent, new Map(listeners.map((name) => [name, linesOf<Handed>(this.#journalOf(name))])))
    const lost = () => faults().filter((fault) => fault.endsWith('lost'))
    await Promise.race([turns(() => lost().length === 0), pause(60_000, undefined, { ref: false })])
    for (const fault of faults()) print(fault)
    const wrong = faults().length - lost().length
    return rowOf('acknowledged messages', this.acknowledged, lost().length, wrong)
  }

  #journalOf(name: string): string {
    return join(this.#directory, `${name}.journal`)
  }
}

/** Runs `osp send`, with one more file each time that it is started. */
class Files {
  readonly #directory: string
  readonly #args: readonly string[]
  readonly #names: string[] = []
  #program: MortalProgram | undefined

  constructor(directory: string, server: string) {
    this.#directory = directory
    this.#args = ['--server', server, '--user', 'alice', '--state', join(directory, 'state'), '--retry-for', '5m']
  }

  programs(): [string, MortalProgram][] {
    this.#program = new MortalProgram(() => {
      const name = `file-${this.#names.length}`
      this.#names.push(name)
      writeFileSync(join(this.#directory, name), randomBytes(fileBytes))
      return this.#send('--limit-rate', '2M')
    })
    return [['osp send', this.#program]]
  }

  async row(print: (line: string) => void): Promise<Row> {
    await this.#program?.running.kill()
    await mkdir(join(this.#directory, 'data/files/alice'), { recursive: true })
    const acknowledged = readdirSync(join(this.#directory, 'data/files/alice'))
    const sending = this.#send()
    const { code } = await sending.ended
    const faults = code === 0 ? [] : [`osp send ends with ${code}: ${sending.stderr}`]
    const stored = readdirSync(join(this.#directory, 'data/files/alice'))
    const lost = this.#names.filter((name) => !stored.includes(name))
    for (const name of stored) {
      if (!this.#names.includes(name)) faults.push(`no client has sent ${name}`)
      else if (!this.#isWhole(name)) faults.push(`${name} has other bytes than were sent`)
    }
    const left = readdirSync(join(this.#directory, 'data/partial'))
    if (left.length > 0) faults.push(`partial files are left: ${left.join(', ')}`)
    for (const fault of [...faults, ...lost.map((name) => `${name} is lost`)]) print(fault)
    print(`${acknowledged.length} of ${this.#names.length} files were stored before the last run`)
    return rowOf('files', this.#names.length, lost.length, faults.length)
  }

  #send(...more: readonly string[]) {
    return start('osp', ['send', ...this.#args, ...more, ...this.#names], { cwd: this.#directory })
  }

  #isWhole(name: string): boolean {
    const [sent, stored] = [name, join('data/files/alice', name)].map((path) =>
      readFileSync(join(this.#directory, path)),
    )
    return stored !== undefined && sent?.equals(stored) === true
  }
}

function rowOf(name: string, all: number, lost: number, wrong: number): Row {
  const counts = Object.entries({ held: all - lost, lost, wrong }).filter(([, count]) => count > 0)
  return { name, counts: new Map(counts) }
}
