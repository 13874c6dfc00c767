import type { ClusterClaims } from '../../../lib/adapters/cluster/clusterClaims.ts'
import type { ClusterFiles } from '../../../lib/adapters/cluster/clusterStorage.ts'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { defaultLimits, type Limits } from '../../../lib/limits.ts'
import type { LogEntry } from '../../../lib/ports/log.ts'
import type { ReceivingUpload } from '../../../lib/server/status.ts'
import type { SeededRandom } from '../../support/random.ts'
import type { ClientActor } from '../clientActor.ts'
import type { ClientParts } from '../clientRun.ts'
import type { SimulatedDisk } from '../disk.ts'
import type { Faults } from '../faults.ts'
import type { SimulatedFile } from '../files.ts'
import { generateLimits, generateSenders } from '../generated.ts'
import { Invariants } from '../invariants.ts'
import { SimulatedProcess } from '../process.ts'
import type { StoredFiles } from '../storedFiles.ts'
import { UploadWatch } from '../uploadWatch.ts'
import type { ClusterServer } from './clusterServer.ts'
import { SharedTree } from './sharedTree.ts'
import { TreeFiles } from './treeFiles.ts'
import { TreeWatch } from './treeWatch.ts'

/** The parts of a world of several servers that its files use. */
interface SentFilesParts extends ClientParts {
  readonly stored: StoredFiles
  readonly faults: Faults
  /** Nothing lies on it. */
  readonly disk: SimulatedDisk
  readonly servers: readonly ClusterServer[]
}

/** The files that the programs of a world send to several servers, and the tree that these share. */
export class SentFiles {
  readonly invariants: Invariants
  readonly clients: readonly ClientActor[]
  readonly files: readonly SimulatedFile[]
  readonly #parts: SentFilesParts
  readonly #tree: SharedTree
  readonly #watch: TreeWatch
  readonly #uploads: UploadWatch

  /** `any`: the world has files. `usesStored`: programs use stored files. */
  constructor(parts: SentFilesParts, any: boolean, usesStored: boolean) {
    const { trace, machine, network, disk, limits } = parts
    const { time, random, digests } = machine
    this.#parts = parts
    this.#tree = new SharedTree(random.fork('the shared tree').pick([1, 4, 40], 'time of an operation'))
    if (usesStored) this.#tree.stored = parts.stored
    const { windowBytes } = limits
    this.#uploads = new UploadWatch({ trace, time, network, disk, windowBytes, severalServers: true })
    const { clients, files } = generateSenders(parts, any, limits.chunkBytes, false, usesStored)
    this.clients = clients
    this.files = files
    this.invariants = new Invariants({
      trace,
      disk,
      network,
      machine,
      limits,
      files,
      clients,
      place: { finished: (file, sent) => this.#watch.finished(file, sent) },
      server: { countsFiles: true, server: undefined },
      get healed() {
        return parts.healed
      },
      severalServers: true,
    })
    this.#watch = new TreeWatch({ trace, tree: this.#tree, files, invariants: this.invariants, digests })
    if (!any) return
    network.opened = (link) => {
      this.#uploads.watch(link)
      parts.stored.watch(link)
    }
  }

  get publications(): number {
    return this.#watch.publications
  }

  /** Returns the tree as a run of a server uses it. */
  filesOf(process: SimulatedProcess, claims: ClusterClaims): ClusterFiles {
    return new TreeFiles(this.#tree, process, claims, this.#watch)
  }

  watched(steps: Steps): Steps {
    return this.#watch.watched(steps)
  }

  logged(entry: LogEntry): void {
    this.#uploads.reason(entry)
  }

  /** Starts all programs, which send all files. */
  start(): void {
    for (const client of this.clients) {
      client.start()
      for (const file of this.files) if (file.user === client.user) client.send(file)
    }
  }

  /** A stored file was removed, or was given another name. */
  removed(user: string, name: string): void {
    this.invariants.removed(user, name)
    this.#watch.removed(user, name)
  }

  /** Checks the invariants after every step. */
  check(): void {
    for (const { server } of this.#parts.servers) if (server) this.invariants.check(server.status())
    this.#watch.check()
  }

  /** The store is about to lose its changes. Returns a function that is called when they are lost. */
  losing(): () => void {
    const lose = this.#watch.losing()
    const loseStored = this.#parts.stored.notices.losing()
    return () => {
      lose()
      loseStored()
      this.#uploads.lost()
      this.invariants.hasLost = true
    }
  }

  /** The machine of a killed server fails: what it has written and not flushed may be lost. */
  losePower(process: SimulatedProcess, random: SeededRandom): void {
    this.#parts.trace.tell(`the machine of ${process.name} has failed`)
    this.#tree.crash(process, random)
  }

  /** The operations of a server on the tree hang for this time, and then succeed. */
  hang(process: SimulatedProcess, ms: number): void {
    this.#parts.trace.tell(`the files of ${process.name} hang: ${ms} ms`)
    const untilMs = process.machine.time.now() + ms
    this.#tree.hangsUntilMs.set(process, Math.max(untilMs, this.#tree.hangsUntilMs.get(process) ?? 0))
  }

  heal(): void {
    this.#tree.hangsUntilMs.clear()
    for (const client of this.clients) client.heal()
  }

  get isSettled(): boolean {
    return this.clients.every(({ isSettled }) => isSettled)
  }

  /** The uploads that instances of the servers receive. */
  get receiving(): readonly ReceivingUpload[] {
    return this.#parts.servers.flatMap(({ server }) => server?.status().uploads ?? [])
  }

  /** The uploads that instances receive under claims that have ended. */
  get receivingLost(): readonly ReceivingUpload[] {
    return this.receiving.filter((upload) => this.#watch.hasEnded(upload))
  }

  /** Checks that no instance receives these uploads. */
  checkNone(uploads: readonly ReceivingUpload[]): void {
    for (const { user, name, node } of uploads)
      this.#parts.trace.fail(`an instance still receives ${user}/${name} over link ${node}`)
  }

  /** Removes what is useless, as a server does, and checks that nothing else is left. The servers have ended. */
  async end(claims: Pick<ClusterClaims, 'all'>): Promise<void> {
    const process = new SimulatedProcess('a look at the end', this.#parts.machine)
    await this.filesOf(process, claims as ClusterClaims).sweep(Number.POSITIVE_INFINITY)
    this.#watch.settled()
  }
}

/** The limits of files of several servers, without those that one server alone can keep. */
export function generateFileLimits(random: SeededRandom, faults: Faults): Partial<Limits> {
  return { ...generateLimits(random, faults), uploadAgeMs: defaultLimits.uploadAgeMs }
}
