import { SeededRandom } from '../support/random.ts'
import { until } from '../support/until.ts'
import { fileFaults, messageFaults, type SentMessage } from './history.ts'
import { Load } from './load.ts'
import { Programs } from './programs.ts'
import { ClusterServers } from './servers.ts'

export const soakFaults = ['kill', 'freeze', 'database', 'cut', 'listener', 'sender', 'receiver', 'upload'] as const

type SoakFault = (typeof soakFaults)[number]

export interface SoakOptions {
  readonly seed: number
  readonly rounds: number
  readonly uploads: number
  readonly messages: number
  readonly listeners: number
  /** The faults to draw from. Each occurs once before one occurs again. */
  readonly faults: readonly SoakFault[]
  readonly print: (line: string) => void
}

/** What the servers do while faults happen. */
interface Work {
  readonly load: Load
  readonly programs: Programs
}

const serverNames = ['one', 'two', 'three']

/** Time without any progress after which the run fails. It only detects hangs. */
const stallMs = 150_000

/**
 * Sends messages and uploads to three server processes while servers, the database and connections fail. Resolves with a
 * sentence for each violation of the guarantees.
 */
export async function soak(options: SoakOptions): Promise<string[]> {
  await using servers = await ClusterServers.start(serverNames)
  return await new Soak(options, servers).run()
}

class Soak {
  readonly #options: SoakOptions
  readonly #servers: ClusterServers
  readonly #random: SeededRandom
  readonly #faults: string[] = []
  #bag: SoakFault[] = []

  constructor(options: SoakOptions, servers: ClusterServers) {
    this.#options = options
    this.#servers = servers
    this.#random = new SeededRandom(options.seed)
  }

  async run(): Promise<string[]> {
    const { rounds, messages, uploads, listeners } = this.#options
    const { path, balancer } = this.#servers
    const random = this.#random.fork('load')
    await using load = new Load({ port: balancer.port, directory: path, listeners, senders: 4, uploaders: 3, random })
    await using programs = new Programs(balancer.port, path, this.#random.fork('programs'))
    try {
      for (let round = 1; round <= rounds; round++) {
        const shareOf = (all: number) => Math.floor((all * round) / rounds) - Math.floor((all * (round - 1)) / rounds)
        await this.#round(round, { load, programs }, shareOf(messages), shareOf(uploads))
      }
      await this.#progress(load, () => load.settled === load.total && load.due === 0)
      await programs.finish()
    } catch (error) {
      this.#faults.push(`${error instanceof Error ? error.message : error}`)
    }
    await this.#check({ load, programs })
    return this.#faults
  }

  /** Starts a part of the load, and causes a fault when a random share of it is done. */
  async #round(round: number, work: Work, messages: number, uploads: number): Promise<void> {
    const { load } = work
    const { settled } = load
    load.add(messages, uploads)
    const share = this.#random.integer(1, Math.max(1, load.total - settled), 'progress before the fault')
    await this.#progress(load, () => load.settled >= settled + share)
    const fault = this.#draw()
    const began = performance.now()
    const told = await this.#make(fault, work)
    const seconds = ((performance.now() - began) / 1_000).toFixed(1)
    const { uploads: sent, sent: said, handled, due } = load
    const counts = `${load.settled} of ${said.length + sent.length} settled, ${handled.length} handled, ${due} due`
    this.#options.print(`round ${round}: ${told} (${seconds} s); ${counts}`)
    await this.#compareFiles(work)
  }

  /** Compares the published files with the uploads, which may continue meanwhile. */
  async #compareFiles({ load, programs }: Work): Promise<void> {
    const all = [...load.uploads, ...programs.uploads]
    const stored = new Set(all.filter(({ isStored }) => isStored))
    const published = await this.#servers.published()
    const uploads = all.map((upload) => ({ ...upload, isStored: stored.has(upload) }))
    this.#faults.push(...fileFaults(uploads, published))
  }

  async #make(fault: SoakFault, { load, programs }: Work): Promise<string> {
    const some = () => this.#some(load)
    const name = this.#random.pick(serverNames, 'a server')
    const { balancer } = this.#servers
    switch (fault) {
      case 'kill':
        await this.#servers.kill(name)
        await this.#some(load)
        await this.#servers.start(name)
        return `server ${name} was killed and restarted`
      case 'freeze':
        await this.#servers.freeze(name)
        await this.#servers.declaredDead(name)
        await this.#servers.thaw(name)
        return `server ${name} was frozen past its lease and continued`
      case 'database':
        await this.#servers.crashDatabase()
        return 'the database crashed and restarted'
      case 'cut':
        return `${balancer.cut(this.#random.integer(1, balancer.connections, 'connections'))} connections were cut`
      case 'listener':
        return await load.restartListener()
      case 'sender':
        return await programs.killSender(some)
      case 'receiver':
        return await programs.killReceiver(some)
      case 'upload':
        return await programs.killUpload(some)
    }
  }

  /** Resolves after some progress, or at once if there is nothing left to do. */
  async #some(load: Load): Promise<void> {
    const target = Math.min(load.total, load.settled + this.#random.integer(1, 50, 'progress during the fault'))
    await this.#progress(load, () => load.settled >= target)
  }

  #draw(): SoakFault {
    if (this.#bag.length === 0) this.#bag = [...this.#options.faults]
    const [fault = 'cut'] = this.#bag.splice(this.#random.integer(0, this.#bag.length - 1, 'a fault'), 1)
    return fault
  }

  /** Resolves when a condition about the load holds. Rejects if nothing happens for a long time. */
  async #progress(load: Load, holds: () => boolean): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    let stop = () => {}
    const stalled = new Promise<never>((_, reject) => {
      const state = () => `${load.settled} of ${load.total} messages and uploads settled, ${load.due} deliveries due`
      const fail = () => reject(new Error(`nothing has happened for ${stallMs / 1_000} s: ${state()}`))
      const renew = () => {
        clearTimeout(timer)
        timer = setTimeout(fail, stallMs)
      }
      load.on('change', renew)
      stop = () => load.off('change', renew)
      renew()
    })
    try {
      await Promise.race([until(load, 'change', holds), stalled])
    } finally {
      stop()
      clearTimeout(timer)
    }
  }

  async #check({ load, programs }: Work): Promise<void> {
    const { print } = this.#options
    const published = await this.#servers.published()
    const left = this.#servers.partial()
    // A killed server leaves the small files that it was about to publish, and incomplete copies; later servers remove them.
    const partial = left.filter((path) => !path.endsWith('.new'))
    const { sent, handled } = programs
    this.#faults.push(...fileFaults([...load.uploads, ...programs.uploads], published))
    this.#faults.push(...messageFaults(load.sent, load.handled), ...messageFaults(sent, handled))
    this.#faults.push(...partial.map((path) => `partial/${path}: left after all uploads have ended`))
    const acknowledgedOf = (all: readonly SentMessage[]) =>
      all.filter(({ outcome }) => outcome === 'acknowledged').length
    const acknowledged = acknowledgedOf(load.sent)
    const stored = load.uploads.filter(({ isStored }) => isStored).length
    print(`${acknowledged} of ${load.sent.length} messages acknowledged, ${load.handled.length} deliveries handled`)
    print(`programs: ${acknowledgedOf(sent)} of ${sent.length} messages acknowledged, ${handled.length} handled`)
    print(`${stored} of ${load.uploads.length} uploads stored, ${published.size} files published`)
    print(`${left.length} files in partial, ${left.length - partial.length} of them allowed`)
    for (const refusal of load.refusals) print(`refused: ${refusal}`)
  }
}
