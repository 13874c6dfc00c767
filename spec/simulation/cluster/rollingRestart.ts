import type { Machine, SimulatedProcess } from '../process.ts'
import type { ClusterServer } from './clusterServer.ts'

/** The time for which a server that will stop stays open, after the balancer has stopped choosing it. */
const drainMs = 5_000
/** Interval in which the restart checks whether it can continue. */
const checkMs = 500

/** Restarts and upgrades the servers of a cluster one after another. The balancer chooses no server that will stop. */
export class RollingRestart {
  readonly #machine: Machine
  readonly #servers: () => readonly ClusterServer[]
  /** The servers that have yet to be restarted, the present one first. */
  #waiting: readonly ClusterServer[] = []
  /** The run of the present server that will stop. */
  #stopping: SimulatedProcess | undefined

  constructor(machine: Machine, servers: () => readonly ClusterServer[]) {
    this.#machine = machine
    this.#servers = servers
  }

  /** Whether a balancer may choose this run of a server. */
  isOpen(process: SimulatedProcess): boolean {
    return process !== this.#stopping
  }

  begin(): boolean {
    if (this.#waiting.length > 0) return false
    this.#waiting = this.#servers()
    this.#next()
    return true
  }

  end(): void {
    this.#waiting = []
    this.#stopping = undefined
  }

  #next(): void {
    const [server] = this.#waiting
    this.#stopping = server?.process
    if (server) this.#after(drainMs, () => this.#stop(server, server.process))
  }

  /** Stops this run of a server. A run that was killed meanwhile has no need to be stopped. */
  #stop(server: ClusterServer, run: SimulatedProcess | undefined): void {
    if (this.#waiting[0] !== server) return
    const isStopped = server.process !== run || server.stop()
    this.#after(checkMs, () => (isStopped ? this.#start(server, run) : this.#stop(server, run)))
  }

  /** Starts a server that has stopped, and continues with the next one when it listens. */
  #start(server: ClusterServer, former: SimulatedProcess | undefined): void {
    if (this.#waiting[0] !== server) return
    server.upgrade()
    if (!server.process) server.start()
    if (server.process !== former && server.server) {
      this.#waiting = this.#waiting.slice(1)
      this.#next()
    } else this.#after(checkMs, () => this.#start(server, former))
  }

  #after(ms: number, run: () => void): void {
    const { time } = this.#machine
    time.alarm(time.now() + ms, run)
  }
}
