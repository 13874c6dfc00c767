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

/** Lines about users are counted in spans of ten seconds, those about refused links by the minute. */
const userSpanMs = 10_000
const refusalSpanMs = 60_000

/** What one event may have of the lines of a user, if no other event has any: a flood of one does not hide the others. */
const eventPercent = 50

/** Whom and why a link was refused. */
export interface Refused {
  readonly from: string
  readonly user?: string
  readonly node?: number
}

/** Of whom lines are counted together. */
interface Counted {
  readonly key: string
  /** The fields that say of whom, in the line about those that were left out. */
  readonly of: { readonly user?: string; readonly from?: string }
  /** Lines in a span. */
  readonly most: number
}

/**
 * A log for the server's lines. It cuts what comes from outside, so that nobody fills the disk with a long word, and bounds the
 * lines that a client can cause (`logEvents` says by what): those beyond are left out, and `lines-left-out` says later how many
 * of which event. What is not caused by clients, and `upload-stored`, is never left out.
 */
export class BoundedLog {
  readonly #log: Log
  readonly #limits: Limits
  /** Apart from each other: strangers cannot make the server forget what it has counted of users. */
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

  /** Users and addresses whose lines are counted. */
  get remembered(): number {
    return Math.max(this.#ofUsers.size, this.#ofRefusals.size)
  }

  readonly write = (entry: ServerEntry): void => {
    if (this.#ofUsers.take(this.#countedOf(entry), entry.event, eventPercent)) this.#write(entry)
  }

  /** Logs that a link was refused. That an origin asks too much is logged once a minute. */
  refused(origin: string, refused: Refused, { code, message: text }: OspError): void {
    const { refusalLinesPerAddress, logLinesPerAddress } = this.#limits
    const of = { from: origin }
    // Those of all addresses together come first: the holder of an IPv6 network has many, and they need not be remembered then.
    const all = { key: 'all', of: {}, most: (logLinesPerAddress * refusalSpanMs) / 1_000 }
    const own =
      code === 'rate-limited'
        ? { key: `turned away ${origin}`, of, most: 1 }
        : { key: `refused ${origin}`, of, most: refusalLinesPerAddress }
    if (!this.#ofRefusals.take([all, own], 'link-refused', 100)) return
    this.#write({ level: 'warn', event: 'link-refused', ...refused, code, text })
  }

  /** Logs what was left out so far, and counts anew. */
  close(): void {
    this.#ofUsers.close()
    this.#ofRefusals.close()
  }

  #countedOf(entry: ServerEntry): readonly Counted[] {
    const { budget }: { readonly budget: Budget } = logEvents[entry.event]
    if (budget === 'none') return []
    const [perUser, perAddress] = [this.#limits.logLinesPerUser, this.#limits.logLinesPerAddress].map(
      (perSecond) => (perSecond * userSpanMs) / 1_000,
    ) as [number, number]
    if (budget === 'common') return [{ key: entry.event, of: {}, most: perUser }]
    const { user = '', from } = entry as { readonly user?: string; readonly from?: string }
    const ofUser = { key: `user ${user}`, of: { user }, most: perUser }
    if (from === undefined) return [ofUser]
    // Without a list of users one client can come in under many names.
    const origin = originOf(from)
    return [{ key: `from ${origin}`, of: { from: origin }, most: perAddress }, ofUser]
  }

  #write(entry: ServerEntry): void {
    const fields = Object.entries(entry).map(([name, value]) => [name, bounded(value)])
    this.#log(Object.fromEntries(fields) as LogEntry)
  }
}

/** The lines about a user, or from an address, of one span, by their events. */
interface Span {
  readonly of: Counted['of']
  readonly endsAtMs: number
  logged: number
  left: number
  readonly events: Map<string, { logged: number; left: number }>
}

/** Counts lines in spans that begin with the first line; at the end of a span it says what was left out. */
class LineCounts {
  readonly #spanMs: number
  readonly #most: number
  readonly #clock: Clock
  readonly #leftOut: (entry: ServerEntry) => void
  /** Those that began longest ago first, which end first. */
  readonly #spans = new Map<string, Span>()
  readonly #alarm: Alarm

  /** Beyond `most` users and addresses the one whose span began longest ago is forgotten for a new one. */
  constructor(spanMs: number, most: number, clock: Clock, leftOut: (entry: ServerEntry) => void) {
    this.#spanMs = spanMs
    this.#most = most
    this.#clock = clock
    this.#leftOut = leftOut
    this.#alarm = new Alarm(clock, () => this.#ended())
  }

  get size(): number {
    return this.#spans.size
  }

  /** Whether a line is to be logged: all of `counted` have room for it, of which one event may take a share (`fitsShare`). */
  take(counted: readonly Counted[], event: string, percent: number): boolean {
    if (counted.length === 0) return true
    const now = this.#clock.now()
    this.#expire(now)
    const spans: Span[] = []
    for (const each of counted) {
      const span = this.#spanOf(each, now)
      if (!fitsShare({ most: each.most, held: span.logged }, eventOf(span, event).logged, 1, percent)) {
        span.left++
        eventOf(span, event).left++
        this.#alarm.by(span.endsAtMs)
        return false
      }
      spans.push(span)
    }
    for (const span of spans) {
      span.logged++
      eventOf(span, event).logged++
    }
    return true
  }

  close(): void {
    this.#alarm.stop()
    for (const key of [...this.#spans.keys()]) this.#forget(key)
  }

  #spanOf({ key, of }: Counted, now: number): Span {
    const known = this.#spans.get(key)
    if (known) return known
    const span = { of, endsAtMs: now + this.#spanMs, logged: 0, left: 0, events: new Map() }
    this.#spans.set(key, span)
    const [oldest] = this.#spans.keys()
    if (this.#spans.size > this.#most && oldest !== undefined) this.#forget(oldest)
    return span
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

  /** Says what was left out, if anything was. */
  #forget(key: string): void {
    const span = this.#spans.get(key)
    this.#spans.delete(key)
    if (!span || span.left === 0) return
    const events = [...span.events].flatMap(([event, { left }]) => (left > 0 ? [`${event} ${left}`] : []))
    const left = { lines: span.left, events: events.join(', ') }
    this.#leftOut({ level: 'warn', event: 'lines-left-out', ...span.of, ...left })
  }
}

function eventOf({ events }: Span, event: string): { logged: number; left: number } {
  let known = events.get(event)
  if (!known) {
    known = { logged: 0, left: 0 }
    events.set(event, known)
  }
  return known
}

function bounded<T>(value: T): T | string {
  if (typeof value !== 'string' || value.length <= fixed.logFieldCharacters) return value
  return `${value.slice(0, fixed.logFieldCharacters).toWellFormed()}…`
}

/** The fields that say whose request it was. */
export function linkOf({ user, node, from }: Connection): Pick<Connection, 'user' | 'node' | 'from'> {
  return { user, node, from }
}
