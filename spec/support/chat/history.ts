import { existsSync, readFileSync } from 'node:fs'

/** Journal entry of a sender before it sends message `n`. */
export interface Intent {
  readonly n: number
  /** In hexadecimal. */
  readonly id: string
  readonly to: readonly string[]
}

/** Journal entry of a sender when message `acked` is acknowledged. */
export interface Acked {
  readonly acked: number
}

/** Journal entry of a listener for a received message. */
export interface Handed {
  readonly from: string
  readonly id: string
  readonly seq: number
  readonly attempt: number
  /** The sender's number of the message. */
  readonly n: number
}

/** Reads the lines of a journal, without an incomplete last line. */
export function linesOf<T>(path: string): T[] {
  if (!existsSync(path)) return []
  const text = readFileSync(path, 'utf8')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T)
}

export const isIntent = (line: Intent | Acked): line is Intent => 'n' in line

/** Returns a sentence for each violation of the delivery guarantees in the journals. */
export function faultsOf(
  senders: ReadonlyMap<string, readonly (Intent | Acked)[]>,
  listeners: ReadonlyMap<string, readonly Handed[]>,
): string[] {
  const faults: string[] = []
  for (const [sender, lines] of senders) {
    const acked = new Set(lines.flatMap((line) => (isIntent(line) ? [] : [line.acked])))
    for (const intent of lines.filter(isIntent)) {
      for (const [listener, handed] of listeners) {
        const got = handed.filter((one) => one.from === sender && one.n === intent.n)
        const what = `${sender} ${intent.n} at ${listener}`
        faults.push(...faultsOfMessage(intent, acked.has(intent.n), listener, got).map((fault) => `${what}: ${fault}`))
      }
    }
  }
  for (const [listener, handed] of listeners) faults.push(...disorders(listener, handed))
  return faults
}

/** Compares a message with its deliveries to one listener. */
function faultsOfMessage({ id, to }: Intent, isAcked: boolean, listener: string, got: readonly Handed[]): string[] {
  const isFor = to.includes(listener)
  return [
    ...(isAcked && isFor && got.length === 0 ? ['acknowledged and lost'] : []),
    ...(!isFor && got.length > 0 ? ['it was not sent there'] : []),
    ...(got.some((one) => one.id !== id) ? ['it has another id'] : []),
    ...(got.slice(1).some(({ attempt }) => attempt < 2) ? ['twice, and not marked'] : []),
  ]
}

/** Checks that the numbers of each sender rise, at the first delivery of each message. */
function disorders(listener: string, handed: readonly Handed[]): string[] {
  const faults: string[] = []
  const latest = new Map<string, number>()
  const seen = new Set<string>()
  for (const { from, n } of handed) {
    if (seen.has(`${from} ${n}`)) continue
    seen.add(`${from} ${n}`)
    const before = latest.get(from) ?? -1
    if (n < before) faults.push(`${listener}: ${from} ${n} came after ${before}`)
    latest.set(from, Math.max(n, before))
  }
  return faults
}
