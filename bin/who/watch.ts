import type { Member, Roster } from 'ospd'

/** Tells how a list changes. */
export type Told = (member: Member, change: 'here' | 'gone') => void

/**
 * Tells every change of the online list since `shown`. After a broken link the list comes whole; of it only what has
 * changed is told.
 */
export function watchRoster(roster: Roster, shown: readonly Member[], told: Told): Disposable {
  const known = new Map(shown.map((member) => [keyOf(member), member]))
  const here = (member: Member) => {
    if (known.has(keyOf(member))) return
    known.set(keyOf(member), member)
    told(member, 'here')
  }
  const gone = (member: Member) => {
    if (known.delete(keyOf(member))) told(member, 'gone')
  }
  const change = (member: Member, what: 'here' | 'gone') => (what === 'here' ? here(member) : gone(member))
  const whole = (members: readonly Member[]) => {
    const now = new Set(members.map(keyOf))
    for (const [key, member] of known) if (!now.has(key)) gone(member)
    for (const member of sorted(members)) here(member)
  }
  roster.on('change', change).on('whole', whole)
  return {
    [Symbol.dispose]() {
      roster.off('change', change).off('whole', whole)
    },
  }
}

/** By name, in the order of the characters' numbers. */
export function sorted(members: Iterable<Member>): readonly Member[] {
  return [...members].sort((a, b) => (a.user < b.user ? -1 : a.user > b.user ? 1 : a.node - b.node))
}

const keyOf = ({ user, node }: Member) => `${node} ${user}`
