import { Queue } from '../../core/queue.ts'

interface Scheduled {
  /** Does one step of the work. Returns whether the next step can follow at once. */
  step(): boolean
}

/** Runs the steps of scheduled work in turn: after a step, the work goes to the tail of the queue (the seed's 一对多消息发送). */
export class RoundRobin {
  readonly #queue = new Queue<Scheduled>()
  /** The work in `#queue`. */
  readonly #queued = new Set<Scheduled>()
  #running = false

  /** Appends the work to the queue unless it is there already, and runs the queue unless it runs already. */
  schedule(work: Scheduled): void {
    if (this.#queued.has(work)) return
    this.#queued.add(work)
    this.#queue.push(work)
    if (!this.#running) this.#run()
  }

  #run(): void {
    this.#running = true
    try {
      for (let work = this.#queue.shift(); work; work = this.#queue.shift()) {
        this.#queued.delete(work)
        if (work.step()) this.schedule(work)
      }
    } finally {
      this.#running = false
    }
  }
}
