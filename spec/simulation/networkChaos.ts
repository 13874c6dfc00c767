import type { Happening } from './chaos.ts'
import type { World } from './world.ts'

/** What may happen to the network. */
export const networkHappenings: readonly Happening[] = [
  { name: 'a link is cut', weight: 8, happen: cutLink },
  { name: 'the network is cut', weight: 2, happen: cutNetwork },
  { name: 'one direction of a link is cut', weight: 4, happen: (world) => mute(world, 'one') },
  { name: 'one direction of all links is cut', weight: 1, happen: (world) => mute(world, 'all') },
  { name: 'only connecting gets through', weight: 4, happen: stall },
]

function cutLink(world: World): boolean {
  const links = [...world.network.links]
  if (links.length === 0) return false
  const chosen = world.dice.pick(links, 'a link')
  world.tell(`the link of ${chosen.clientProcess.name} is cut`)
  world.network.cut((link) => link === chosen)
  return true
}

/** Nothing passes for a while. A reliable link does not outlive that, a lossy one may. */
function cutNetwork(world: World): boolean {
  const { network, machine, dice } = world
  if (network.down) return false
  const ms = dice.integer(100, 40_000, 'time that the network is down')
  world.tell(`the network is down: ${ms} ms`)
  network.down = true
  if (network.faults.reliable) network.cut(() => true)
  machine.time.alarm(machine.time.now() + ms, () => {
    network.down = false
  })
  return true
}

/** What is sent in one direction does not arrive for a while, and neither end is told. */
function mute(world: World, which: 'one' | 'all'): boolean {
  const links = [...world.network.links]
  if (links.length === 0) return false
  const chosen = world.dice.pick(links, 'a link')
  const from = world.dice.pick(['client', 'server'] as const, 'a direction')
  const ms = world.dice.integer(100, 60_000, 'time that a direction is cut')
  world.tell(
    `${which === 'all' ? 'all links are' : `the link of ${chosen.clientProcess.name} is`} mute from the ${from}: ${ms} ms`,
  )
  world.network.mute((link) => which === 'all' || link === chosen, from, ms)
  return true
}

/**
 * Breaks all links. New links carry nothing for a while, and deliver their data afterwards. So the HELLO_REQ of an
 * abandoned attempt can arrive after that of a later one.
 */
function stall(world: World): boolean {
  const { network, machine, dice } = world
  if (network.stalledUntilMs > machine.time.now()) return false
  const ms = dice.integer(100, 40_000, 'time that only connecting gets through')
  world.tell(`only connecting gets through: ${ms} ms`)
  network.stalledUntilMs = machine.time.now() + ms
  network.cut(() => true)
  return true
}
