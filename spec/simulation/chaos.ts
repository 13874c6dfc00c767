import type { SeededRandom } from '../../lib/testing/random.ts'
import { diskHappenings } from './diskChaos.ts'
import { fileHappenings } from './fileChaos.ts'
import { messageHappenings } from './messageChaos.ts'
import { networkHappenings } from './networkChaos.ts'
import { processHappenings, processMendings } from './processChaos.ts'
import type { Troubles } from './troubles.ts'
import { userHappenings } from './userChaos.ts'
import type { World, WorldKind } from './world.ts'

/** Something that may happen to a world. */
export interface Happening {
  readonly name: string
  /** How often it happens beside the others, before a world has drawn how often it does in it. */
  readonly weight: number
  /** It happens to the simulated disk, and not at all where things are kept elsewhere. */
  readonly toDisk?: boolean
  /** False: there is nothing that it could happen to. */
  readonly happen: (world: World) => boolean
}

/** How often it is drawn what happens until something can. */
const mostDraws = 8

/** What may happen to any world at any time. */
const common = [...processHappenings, ...networkHappenings, ...diskHappenings, ...userHappenings]

const happenings: { readonly [K in WorldKind]: readonly Happening[] } = {
  files: [...common, ...fileHappenings],
  messages: [...common, ...messageHappenings],
  both: [...common, ...fileHappenings, ...messageHappenings],
}

/** What happens in one world, and how often. */
export class Chaos {
  readonly #weighed: readonly (readonly [weight: number, happening: Happening])[]

  /** Each world has its own troubles: what is rare among all of them, or hidden by others, is frequent in some. */
  constructor(random: SeededRandom, kind: WorldKind, troubles: Troubles, hasDisk: boolean) {
    const drawn = happenings[kind].map((happening) => {
      const { name, weight, toDisk = false } = happening
      const often = random.pick([1, 1, 5], `how often ${name}`)
      return [troubles.has(name) && (hasDisk || !toDisk) ? weight * often : 0, happening] as const
    })
    // No world can do without what mends.
    this.#weighed = [...drawn, ...processMendings.map((happening) => [happening.weight, happening] as const)]
  }

  /** Lets something happen that can, drawn by weight with the world's dice. Returns what. */
  happen(world: World): string | undefined {
    for (let draws = 0; draws < mostDraws; draws++) {
      const { name, happen } = this.#draw(world.dice)
      if (happen(world)) return name
    }
    return undefined
  }

  #draw(random: SeededRandom): Happening {
    const all = this.#weighed.reduce((sum, [weight]) => sum + weight, 0)
    let drawn = random.fraction('what happens') * all
    for (const [weight, happening] of this.#weighed) {
      drawn -= weight
      if (drawn < 0) return happening
    }
    throw new RangeError('the weights do not add up')
  }
}
