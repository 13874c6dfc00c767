import type { SeededRandom } from '../support/random.ts'
import type { Action } from './action.ts'
import { type DiskParts, diskActions } from './diskActions.ts'
import type { Faults } from './faults.ts'
import { fileActions } from './fileActions.ts'
import { type MessageParts, messageActions } from './messageActions.ts'
import { type NetworkParts, networkActions } from './networkActions.ts'
import { type ProcessParts, processActions, processFixes } from './processActions.ts'
import { type StoredFileParts, storedFileActions } from './storedFileActions.ts'
import { type UserParts, userActions } from './userActions.ts'

/** The kind of a world: programs send files, messages, or both. */
export type WorldKind = 'files' | 'messages' | 'both'

/** The parts of a world that its actions use. */
export type ActionParts = ProcessParts & NetworkParts & DiskParts & UserParts & StoredFileParts & MessageParts

/** Number of actions tried until one can happen. */
const mostTries = 8

/** Actions of every kind of world. */
const common = [...processActions, ...networkActions, ...diskActions, ...userActions]

const actions: { readonly [K in WorldKind]: readonly Action<ActionParts>[] } = {
  files: [...common, ...fileActions],
  messages: [...common, ...messageActions],
  both: [...common, ...fileActions, ...messageActions],
}

/** The actions of one world, and their frequencies. */
export class ActionMix {
  readonly #weighed: readonly (readonly [weight: number, action: Action<ActionParts>])[]

  /**
   * Each world has only some actions, with its own weights: an action that is rare in most worlds is frequent in some.
   * `usesStored`: programs use stored files.
   */
  constructor(random: SeededRandom, kind: WorldKind, faults: Faults, hasDisk: boolean, usesStored: boolean) {
    const weighed = actions[kind].map((action) => {
      const { name, weight, toDisk = false } = action
      const scale = random.pick([1, 1, 5], `how often ${name}`)
      return [faults.has(name) && (hasDisk || !toDisk) ? weight * scale : 0, action] as const
    })
    const others: readonly Action<ActionParts>[] = usesStored ? [...processFixes, ...storedFileActions] : processFixes
    this.#weighed = [...weighed, ...others.map((action) => [action.weight, action] as const)]
  }

  /** Applies an action that can happen, chosen by weight. Returns its name. */
  apply(parts: ActionParts): string | undefined {
    for (let tries = 0; tries < mostTries; tries++) {
      const { name, apply } = chosenByWeight(parts.dice, this.#weighed)
      if (apply(parts)) return name
    }
    return undefined
  }
}

/** Chooses one of these actions; each is chosen as often as its weight says. */
export function chosenByWeight<P>(
  random: SeededRandom,
  weighed: readonly (readonly [weight: number, action: Action<P>])[],
): Action<P> {
  const all = weighed.reduce((sum, [weight]) => sum + weight, 0)
  let left = random.fraction('what happens') * all
  for (const [weight, action] of weighed) {
    left -= weight
    if (left < 0) return action
  }
  throw new RangeError('the weights do not add up')
}
