import type { Message } from '../../lib/wire/message.ts'
import { rosterChange, rosterKind } from '../../lib/wire/protocol.ts'

/** Names by node. */
export type List = ReadonlyMap<number, string>

type Told = Pick<Message<'RegistListNtf' | 'ListAck'>, 'listVersion' | 'kind' | 'members'>

/** The presence list of one run of the server at each version, as far as clients have received it. */
export class ListHistory {
  readonly #lists = new Map<number, List>([[0, new Map()]])

  /** Records a received list or change; returns whether it agrees with those of other clients. */
  take({ listVersion, kind, members }: Told): boolean {
    if (kind === rosterKind.whole) {
      const list = new Map(members.map(({ node, userName }) => [node, userName]))
      const known = this.#lists.get(listVersion)
      this.#lists.set(listVersion, list)
      return known === undefined || sameList(known, list)
    }
    let version = listVersion - members.length
    let list = this.#lists.get(version)
    for (const { change, node, userName } of members) {
      if (!list) return true
      const next = new Map(list)
      if (change === rosterChange.here) next.set(node, userName)
      else next.delete(node)
      list = next
      this.#lists.set(++version, next)
    }
    return true
  }

  at(version: number): List | undefined {
    return this.#lists.get(version)
  }
}

export function sameList(a: List, b: List): boolean {
  return a.size === b.size && [...a].every(([node, user]) => b.get(node) === user)
}
