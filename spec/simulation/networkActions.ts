import type { SeededRandom } from '../support/random.ts'
import type { Action } from './action.ts'
import type { SimulatedNetwork } from './network.ts'
import type { Machine } from './process.ts'
import type { Trace } from './trace.ts'

/** The parts of a world that these actions use. */
export interface NetworkParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly network: SimulatedNetwork
  readonly dice: SeededRandom
}

/** Actions on the network. */
export const networkActions: readonly Action<NetworkParts>[] = [
  { name: 'a link is cut', weight: 8, apply: cutLink },
  { name: 'the network is cut', weight: 2, apply: cutNetwork },
  { name: 'one direction of a link is cut', weight: 4, apply: (parts) => mute(parts, 'one') },
  { name: 'one direction of all links is cut', weight: 1, apply: (parts) => mute(parts, 'all') },
  { name: 'only connecting gets through', weight: 4, apply: stall },
]

function cutLink(parts: NetworkParts): boolean {
  const links = [...parts.network.links]
  if (links.length === 0) return false
  const chosen = parts.dice.pick(links, 'a link')
  parts.trace.tell(`the link of ${chosen.clientProcess.name} is cut`)
  parts.network.cut((link) => link === chosen)
  return true
}

/** Nothing passes for a while. A reliable link does not survive this; a lossy one may. */
function cutNetwork(parts: NetworkParts): boolean {
  const { network, machine, dice } = parts
  if (network.down) return false
  const ms = dice.integer(100, 40_000, 'time that the network is down')
  parts.trace.tell(`the network is down: ${ms} ms`)
  network.down = true
  if (network.faults.reliable) network.cut(() => true)
  machine.time.alarm(machine.time.now() + ms, () => {
    network.down = false
  })
  return true
}

/** Frames in one direction do not arrive for a while, and neither end is informed. */
function mute(parts: NetworkParts, which: 'one' | 'all'): boolean {
  const links = [...parts.network.links]
  if (links.length === 0) return false
  const chosen = parts.dice.pick(links, 'a link')
  const from = parts.dice.pick(['client', 'server'] as const, 'a direction')
  const ms = parts.dice.integer(100, 60_000, 'time that a direction is cut')
  parts.trace.tell(
    `${which === 'all' ? 'all links are' : `the link of ${chosen.clientProcess.name} is`} mute from the ${from}: ${ms} ms`,
  )
  parts.network.mute((link) => which === 'all' || link === chosen, from, ms)
  return true
}

/**
 * Breaks all links. New links carry nothing for a while, and deliver their data afterwards, so that the HELLO_REQ of an
 * abandoned attempt can arrive after that of a later one.
 */
function stall(parts: NetworkParts): boolean {
  const { network, machine, dice } = parts
  if (network.stalledUntilMs > machine.time.now()) return false
  const ms = dice.integer(100, 40_000, 'time that only connecting gets through')
  parts.trace.tell(`only connecting gets through: ${ms} ms`)
  network.stalledUntilMs = machine.time.now() + ms
  network.cut(() => true)
  return true
}
