import { fileHappenings } from './fileChaos.ts'
import { messageHappenings } from './messageChaos.ts'
import type { SeededRandom } from './random.ts'
import type { Program, World, WorldKind } from './world.ts'

/** Something that may happen to a world. */
export interface Happening {
  readonly name: string
  /** How often it happens beside the others, before a world has drawn how often it does in it. */
  readonly weight: number
  /** False: there is nothing that it could happen to. */
  readonly happen: (world: World) => boolean
}

/** How often it is drawn what happens until something can. */
const mostDraws = 8

/** What may happen to any world at any time. */
const common: readonly Happening[] = [
  { name: 'the server is killed', weight: 3, happen: (world) => world.server.kill(false) },
  { name: 'the power fails', weight: 3, happen: (world) => world.server.kill(true) },
  { name: 'a client is killed', weight: 5, happen: killProgram },
  { name: 'a link is cut', weight: 8, happen: cutLink },
  { name: 'the network is cut', weight: 2, happen: cutNetwork },
]

/** What mends others, so that no world can do without it. */
const mendings: readonly Happening[] = [
  { name: 'the server starts', weight: 8, happen: (world) => world.server.start() },
  { name: 'a client starts', weight: 12, happen: startProgram },
]

const happenings: { readonly [K in WorldKind]: readonly Happening[] } = {
  files: [...common, ...fileHappenings],
  messages: [...common, ...messageHappenings],
  both: [...common, ...fileHappenings, ...messageHappenings],
}

/** What happens in one world, and how often. */
export class Chaos {
  readonly #weighed: readonly (readonly [weight: number, happen: Happening['happen']])[]

  /** Each world has its own troubles: what is rare among all of them, or hidden by others, is frequent in some. */
  constructor(random: SeededRandom, kind: WorldKind) {
    const drawn = happenings[kind].map(({ name, weight, happen }) => {
      return [weight * random.pick([0, 1, 1, 5], `how often ${name}`), happen] as const
    })
    this.#weighed = [...drawn, ...mendings.map(({ weight, happen }) => [weight, happen] as const)]
  }

  /** Lets something happen that can, drawn by weight. */
  happen(world: World): void {
    for (let draws = 0; draws < mostDraws; draws++) if (this.#draw(world.machine.random)(world)) return
  }

  #draw(random: SeededRandom): Happening['happen'] {
    const all = this.#weighed.reduce((sum, [weight]) => sum + weight, 0)
    let drawn = random.fraction('what happens') * all
    for (const [weight, happen] of this.#weighed) {
      drawn -= weight
      if (drawn < 0) return happen
    }
    throw new RangeError('the weights do not add up')
  }
}

function cutLink(world: World): boolean {
  const links = [...world.network.links]
  if (links.length === 0) return false
  const chosen = world.machine.random.pick(links, 'a link')
  world.tell('a link is cut')
  world.network.cut((link) => link === chosen)
  return true
}

/** Nothing passes for a while. A reliable link does not outlive that, a lossy one may. */
function cutNetwork(world: World): boolean {
  const { network, machine } = world
  if (network.down) return false
  world.tell('the network is down')
  network.down = true
  if (network.faults.reliable) network.cut(() => true)
  const ms = machine.random.integer(100, 40_000, 'time that the network is down')
  machine.time.alarm(machine.time.now() + ms, () => {
    network.down = false
  })
  return true
}

function killProgram(world: World): boolean {
  return withProgram(world, true, (program) => program.kill())
}

function startProgram(world: World): boolean {
  return withProgram(world, false, (program) => program.start())
}

function withProgram(world: World, running: boolean, act: (program: Program) => void): boolean {
  const fitting = world.programs.filter((program) => program.running === running)
  if (fitting.length === 0) return false
  act(world.machine.random.pick(fitting, 'a program'))
  return true
}
