import { accessSync } from 'node:fs'
import type { Holdings, Item } from './holdings.ts'

/** An action of a client of the recorded programs, or the reply to it. */
export type Fact =
  | { readonly kind: 'user'; readonly user: string; readonly token: string }
  | { readonly kind: 'identity'; readonly fingerprint: string }
  | { readonly kind: 'begun' | 'stored'; readonly item: Item }
  | { readonly kind: 'durable'; readonly item: Item; readonly bytes: number }
  | { readonly kind: 'saying' | 'said' | 'taken'; readonly text: string; readonly to: readonly string[] }

const prefix = '/acknowledged/'

/** Records a fact in the trace of this process, between the earlier and the later calls. */
export function note(fact: Fact): void {
  try {
    accessSync(prefix + encodeURIComponent(JSON.stringify(fact)))
  } catch {
    // There is no such file: only the call matters.
  }
}

/** Returns the fact that an accessed path represents, if any. */
export function factOf(path: string): Fact | undefined {
  return path.startsWith(prefix) ? (JSON.parse(decodeURIComponent(path.slice(prefix.length))) as Fact) : undefined
}

/** Returns what must exist after all these facts, and the fingerprint of the server. */
export function holdingsOf(facts: readonly Fact[]): Holdings & { readonly fingerprint: string | undefined } {
  const unfinished = new Map<string, Item>()
  const stored: Item[] = []
  const waiting = new Map<string, string[]>()
  const possible = new Set<string>()
  const taken = new Set<string>()
  const tokens = new Map<string, string>()
  let fingerprint: string | undefined
  const keyOf = ({ user, name }: Item) => `${user}/${name}`
  for (const fact of facts) {
    switch (fact.kind) {
      case 'user':
        tokens.set(fact.user, fact.token)
        break
      case 'identity':
        fingerprint = fact.fingerprint
        break
      case 'begun':
        unfinished.set(keyOf(fact.item), { ...fact.item, durable: 0 })
        break
      case 'durable':
        unfinished.set(keyOf(fact.item), { ...fact.item, durable: fact.bytes })
        break
      case 'stored':
        unfinished.delete(keyOf(fact.item))
        stored.push(fact.item)
        break
      case 'saying':
        possible.add(fact.text)
        break
      case 'said':
        for (const user of fact.to) waiting.set(user, [...(waiting.get(user) ?? []), fact.text])
        break
      case 'taken':
        for (const user of fact.to) taken.add(`${user} ${fact.text}`)
        break
    }
  }
  for (const [user, texts] of waiting) {
    waiting.set(
      user,
      texts.filter((text) => !taken.has(`${user} ${text}`)),
    )
  }
  return { tokens, stored, unfinished: [...unfinished.values()], waiting, possible, fingerprint }
}
