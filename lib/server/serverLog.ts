import { BoundedMap } from '../core/boundedMap.ts'
import type { OspError } from '../errors.ts'
import { fixed, type Limits } from '../limits.ts'
import { originOf } from '../origins.ts'
import type { Log, LogEntry } from '../ports/log.ts'
import type { Clock } from '../ports/platform.ts'
import { Alarm } from '../runtime/alarm.ts'
import { safeLog } from '../runtime/emitter.ts'
import { fitsShare } from '../runtime/share.ts'
import type { Connection } from './app.ts'
import { type Budget, logEvents, type ServerEntry } from './logEvents.ts'

/** Lines about users are counted in spans of ten seconds, and lines about refused links in spans of a minute. */
const userSpanMs = 10_000
const refusalSpanMs = 60_000

/** Share of a user's lines that one event may use if there are no others, so that a flood of one does not hide the others. */
const eventPercent = 50

/** The fields of the client whose link was refused. */
export type Refused = Partial<Pick<Connection, 'user' | 'node'>> & Pick<Connection, 'from'>

/** A user or an address whose lines are counted together. */
interface Counted {
  readonly key: string
  /** The fields that name the user or the address in the line `lines-left-out`. */
  readonly of: Partial<Pick<Refused, 'user' | 'from'>>
  /** Maximum number of lines in a span. */
  readonly most: number
}

/**
 * The log of the server. It cuts long fields, so that a client cannot fill the disk with a long word, and limits the number of
 * lines that a client can cause, as `logEvents` sets it. Further lines are omitted, and `lines-left-out` later reports the
 * number for each event. Lines that clients do not cause, and `upload-stored`, are never omitted.
 */
export class BoundedLog {
  readonly #log: Log
  readonly #limits: Limits
  /** Separate counts: refused clients cannot make the server forget the counts of users. */
  readonly #ofUsers: LineCounts
  readonly #ofRefusals: LineCounts

  constructor(log: Log | undefined, limits: Limits, clock: Clock) {
    this.#log = safeLog(log)
    this.#limits = limits
    const { rememberedAddresses } = limits
    const leftOut = (entry: ServerEntry) => this.#write(entry)
    this.#ofUsers = new LineCounts(userSpanMs, rememberedAddresses, clock, leftOut)
    this.#ofRefusals = new LineCounts(refusalSpanMs, rememberedAddresses, clock, leftOut)
  }

  /** The number of users and addresses whose lines are counted. */
  get remembered(): number {
    return Math.max(this.#ofUsers.size, this.#ofRefusals.size)
  }

  readonly write = (entry: ServerEntry): void => {
    if (this.#ofUsers.take(this.#countedOf(entry), entry.event, eventPercent)) this.#write(entry)
  }

  /** Logs a refused link; `rate-limited` at most once a minute for each origin. */
  refused(origin: string, refused: Refused, { code, message: text }: OspError): void {
    const { refusalLinesPerAddress, logLinesPerAddress } = this.#limits
    // The count of all addresses comes first: above its limit, the many addresses of an IPv6 network are not remembered.
    const all = { key: 'all', of: {}, most: (logLinesPerAddress * refusalSpanMs) / 1_000 }
    const isRate = code === 'rate-limited'
    const own = { key: `${isRate} ${origin}`, of: { from: origin }, most: isRate ? 1 : refusalLinesPerAddress }
    if (!this.#ofRefusals.take([all, own], 'link-refused', 100)) return
    this.#write({ level: 'warn', event: 'link-refused', ...refused, code, text })
  }

  /** Logs the number of lines that were omitted so far, and resets the counts. */
  close(): void {
    this.#ofUsers.close()
    this.#ofRefusals.close()
  }

  #countedOf(entry: ServerEntry): readonly Counted[] {
    const { budget }: { readonly budget: Budget } = logEvents[entry.event]
    if (budget === 'none') return []
    const { logLinesPerUser, logLinesPerAddress } = this.#limits
    const perUser = (logLinesPerUser * userSpanMs) / 1_000
    if (budget === 'common') return [{ key: entry.event, of: {}, most: perUser }]
    const { user = '', from } = entry as Partial<Refused>
    const ofUser = { key: `user ${user}`, of: { user }, most: perUser }
    if (from === undefined) return [ofUser]
    // Without a list of users one client can log in under many names.
    const origin = originOf(from)
    const most = (logLinesPerAddress * userSpanMs) / 1_000
    return [{ key: `from ${origin}`, of: { from: origin }, most }, ofUser]
  }

  #write(entry: ServerEntry): void {
    const isBounded = Object.values(entry).every((value) => bounded(value) === value)
    const fields = () => Object.entries(entry).map(([name, value]) => [name, bounded(value)])
    this.#log((isBounded ? entry : Object.fromEntries(fields())) as LogEntry)
  }
}

interface Lines {
  logged: number
  left: number
}

/** The lines about a user, or from an address, in one span: all, and those of each event. */
interface Span extends Lines {
  readonly of: Counted['of']
  readonly endsAtMs: number
  /** Nearly always one entry, for which a map would take much more memory. */
  events: EventLines[]
}

interface EventLines extends Lines {
  readonly event: string
}

function linesOf(span: Span, event: string): EventLines {
  const known = span.events.find((lines) => lines.event === event)
  if (known) return known
  const lines = { event, logged: 0, left: 0 }
  // Not by `push`, which would reserve memory for more entries.
  if (span.events.length === 0) span.events = [lines]
  else span.events.push(lines)
  return lines
}

/** Counts lines in spans that begin with the first line. At the end of a span it reports the omitted lines. */
class LineCounts {
  readonly #spanMs: number
  readonly #clock: Clock
  readonly #leftOut: (entry: ServerEntry) => void
  /** In the order in which the spans began, and end. A new user or address replaces the one whose span began first. */
  readonly #spans: BoundedMap<string, Span>
  readonly #alarm: Alarm

  constructor(spanMs: number, maxSize: number, clock: Clock, leftOut: (entry: ServerEntry) => void) {
    this.#spanMs = spanMs
    this.#clock = clock
    this.#leftOut = leftOut
    this.#spans = new BoundedMap(maxSize, (key) => this.#forget(key))
    this.#alarm = new Alarm(clock, () => this.#ended())
  }

  get size(): number {
    return this.#spans.size
  }

  /** Counts a line of an event. Returns false if it exceeds a limit of `counted`, or the share of the event (`fitsShare`). */
  take(counted: readonly Counted[], event: string, percent: number): boolean {
    if (counted.length === 0) return true
    const now = this.#clock.now()
    this.#expire(now)
    const counts: Lines[] = []
    for (const { key, of, most } of counted) {
      const span = this.#spans.get(key) ?? { of, endsAtMs: now + this.#spanMs, logged: 0, left: 0, events: [] }
      if (!this.#spans.has(key)) this.#spans.set(key, span)
      const ofEvent = linesOf(span, event)
      if (!fitsShare({ most, held: span.logged }, ofEvent.logged, 1, percent)) {
        span.left++
        ofEvent.left++
        this.#alarm.by(span.endsAtMs)
        return false
      }
      counts.push(span, ofEvent)
    }
    for (const lines of counts) lines.logged++
    return true
  }

  close(): void {
    this.#alarm.stop()
    for (const key of [...this.#spans.keys()]) this.#forget(key)
  }

  #ended(): void {
    this.#expire(this.#clock.now())
    const next = [...this.#spans.values()].find(({ left }) => left > 0)
    if (next) this.#alarm.by(next.endsAtMs)
  }

  #expire(now: number): void {
    for (const [key, { endsAtMs }] of this.#spans) {
      if (endsAtMs > now) return
      this.#forget(key)
    }
  }

  /** Removes a span and reports its omitted lines, if there are any. */
  #forget(key: string): void {
    const span = this.#spans.get(key)
    this.#spans.delete(key)
    if (!span || span.left === 0) return
    const events = span.events.flatMap(({ event, left }) => (left > 0 ? [`${event} ${left}`] : []))
    const left = { lines: span.left, events: events.join(', ') }
    this.#leftOut({ level: 'warn', event: 'lines-left-out', ...span.of, ...left })
  }
}

function bounded<T>(value: T): T | string {
  if (typeof value !== 'string' || value.length <= fixed.logFieldCharacters) return value
  return `${value.slice(0, fixed.logFieldCharacters).toWellFormed()}…`
}

/** Returns the fields that name the link of a request. */
export function linkOf({ user, node, from }: Connection): Pick<Connection, 'user' | 'node' | 'from'> {
  return { user, node, from }
}
