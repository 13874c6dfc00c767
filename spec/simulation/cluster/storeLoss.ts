import type { LinkWatch } from '../linkWatch.ts'
import type { MessageInvariants } from '../messageInvariants.ts'
import type { Machine, SimulatedProcess } from '../process.ts'
import type { Trace } from '../trace.ts'
import type { SentFiles } from './sentFiles.ts'
import type { StorePaths } from './storePath.ts'
import type { StoreWatch } from './storeWatch.ts'

/** The time within which a server that reaches the store reports that it has gone back. */
const reportMs = 20_000

/** The parts of a world that the losses of its store use. */
interface LossParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly paths: StorePaths
  readonly sent: SentFiles
  readonly mail: { readonly invariants: MessageInvariants; readonly watch: LinkWatch }
}

/** Takes the store back to an earlier state, and checks that the servers whose messages are lost report it. */
export class StoreLoss {
  /** Whether the store of this world loses steps. */
  readonly isPossible: boolean
  readonly #parts: LossParts
  readonly #saved: () => () => Promise<void>
  readonly #stored: Pick<StoreWatch, 'storedOnceBy'>
  /** The servers that have reported that the store has gone back. */
  readonly #reported = new Set<SimulatedProcess>()
  /** Ends the loss that is under way. */
  #lose: (() => void) | undefined

  /** `saved` returns a function that restores the present state of the store. */
  constructor(
    parts: LossParts,
    isPossible: boolean,
    saved: () => () => Promise<void>,
    stored: Pick<StoreWatch, 'storedOnceBy'>,
  ) {
    this.#parts = parts
    this.isPossible = isPossible
    this.#saved = saved
    this.#stored = stored
  }

  reported(process: SimulatedProcess): void {
    this.#parts.trace.tell(`${process.name} reports that the store has gone back`)
    if (!this.isPossible) this.#parts.trace.fail(`${process.name} reports a loss of a store that loses nothing`)
    this.#reported.add(process)
  }

  /** All steps of the next `ms` will be lost. Then the store is down for `downMs`. */
  begin(ms: number, downMs: number): boolean {
    const { machine, mail, paths } = this.#parts
    if (!this.isPossible || this.#lose || machine.time.now() < paths.downUntilMs) return false
    const restore = this.#saved()
    const lose = mail.invariants.losing()
    const loseRemovals = mail.watch.losing()
    const loseUploads = this.#parts.sent.losing()
    this.#lose = () => {
      this.#lose = undefined
      alarm[Symbol.dispose]()
      paths.failOver(downMs)
      void restore()
      loseRemovals()
      loseUploads()
      const lost = lose()
      this.#parts.trace.tell(`the store has lost ${lost.length} messages`)
      for (const { key, outcome } of lost) {
        const by = outcome === 'acknowledged' ? this.#stored.storedOnceBy(key) : undefined
        if (by && !this.#reported.has(by)) this.#expectReport(by, downMs + reportMs)
      }
    }
    const alarm = machine.time.alarm(machine.time.now() + ms, this.#lose)
    return true
  }

  /** No step is lost after this. */
  heal(): void {
    this.#lose?.()
  }

  /** A server that cannot reach the store has more time. */
  #expectReport(by: SimulatedProcess, ms: number): void {
    by.within(ms, () => {
      const { machine, paths, trace } = this.#parts
      if (this.#reported.has(by)) return
      const isCutOff = paths.isBroken(by) || machine.time.now() < (paths.lostMs.get(by) ?? 0) + reportMs
      if (isCutOff) this.#expectReport(by, reportMs)
      else trace.fail(`${by.name} does not report that the store has lost messages`)
    })
  }
}
