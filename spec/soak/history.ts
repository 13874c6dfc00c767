/** A message that a sender has sent. */
export interface SentMessage {
  readonly sender: string
  /** The position of the message among those of its sender, in the order of sending. */
  readonly n: number
  readonly to: readonly string[]
  /** `unknown`: it may have been stored. */
  outcome: 'unknown' | 'acknowledged' | 'refused'
}

/** A message that was passed to the handler of a recipient. */
export interface HandledMessage {
  readonly recipient: string
  readonly sender: string
  readonly n: number
  readonly attempt: number
  /** The name of the state directory of the program. */
  readonly state: string
  /** The number of times that a program with this state directory was killed before. */
  readonly kills?: number
}

/** A file that was sent, with its path `USER/NAME`. */
export interface SentUpload {
  readonly path: string
  readonly digest: string
  isStored: boolean
}

const keyOf = ({ recipient, sender, n }: Pick<HandledMessage, 'recipient' | 'sender' | 'n'>) =>
  `${sender} ${n} at ${recipient}`

/** Returns a sentence for each violation of the guarantees for messages. `handled` is in the order of the handlers. */
export function messageFaults(sent: readonly SentMessage[], handled: readonly HandledMessage[]): string[] {
  const byMessage = new Map<string, HandledMessage[]>()
  for (const one of handled) byMessage.set(keyOf(one), [...(byMessage.get(keyOf(one)) ?? []), one])
  const faults: string[] = []
  const lasts = lastBeforeKills(handled)
  for (const { sender, n, to, outcome } of sent) {
    for (const recipient of to) {
      const key = keyOf({ recipient, sender, n })
      const found = byMessage.get(key) ?? []
      const own = [...deliveryFaults(outcome, found), ...repetitionFaults(found, lasts)]
      faults.push(...own.map((fault) => `${key}: ${fault}`))
      byMessage.delete(key)
    }
  }
  for (const key of byMessage.keys()) faults.push(`${key}: handled without being sent`)
  return [...faults, ...orderFaults(handled)]
}

function deliveryFaults(outcome: SentMessage['outcome'], handled: readonly HandledMessage[]): string[] {
  const faults: string[] = []
  if (outcome === 'acknowledged' && handled.length === 0) faults.push('acknowledged and never handled')
  if (outcome === 'refused' && handled.length > 0) faults.push('refused and handled')
  return faults
}

/** Returns the last message that each program has handled before it was killed, or before it ended. */
function lastBeforeKills(handled: readonly HandledMessage[]): ReadonlySet<HandledMessage> {
  const lasts = new Map<string, HandledMessage>()
  for (const one of handled) lasts.set(`${one.state} ${one.kills}`, one)
  return new Set(lasts.values())
}

/** Checks that a message is repeated only by another state directory, or after a kill that may have interrupted its handler. */
function repetitionFaults(handled: readonly HandledMessage[], lasts: ReadonlySet<HandledMessage>): string[] {
  const faults: string[] = []
  const latest = new Map<string, HandledMessage>()
  for (const one of handled) {
    const before = latest.get(one.state)
    if (before && (before.kills === one.kills || !lasts.has(before))) {
      faults.push('handled twice with one state directory')
    } else if (latest.size > 0 && one.attempt < 2) {
      faults.push('handled again by another program without a higher attempt')
    }
    latest.set(one.state, one)
  }
  return faults
}

/** Checks the order of each sender at each recipient, by the first call of the handler for each message. */
function orderFaults(handled: readonly HandledMessage[]): string[] {
  const faults: string[] = []
  const seen = new Set<string>()
  const latest = new Map<string, number>()
  for (const one of handled) {
    if (seen.has(keyOf(one))) continue
    seen.add(keyOf(one))
    const pair = `${one.sender} ${one.recipient}`
    const before = latest.get(pair) ?? -1
    if (one.n < before) faults.push(`${keyOf(one)}: handled after ${before}`)
    latest.set(pair, Math.max(one.n, before))
  }
  return faults
}

/**
 * Returns a sentence for each violation of the guarantees for files. `published` has the digest of each published file by path.
 */
export function fileFaults(sent: readonly SentUpload[], published: ReadonlyMap<string, string>): string[] {
  const faults: string[] = []
  const expected = new Map(sent.map((upload) => [upload.path, upload]))
  for (const { path, isStored } of sent) {
    if (isStored && !published.has(path)) faults.push(`${path}: reported as stored and missing`)
  }
  for (const [path, digest] of published) {
    const upload = expected.get(path)
    if (!upload) faults.push(`${path}: published without being sent`)
    else if (upload.digest !== digest) faults.push(`${path}: published with other bytes than were sent`)
  }
  return faults
}
