import { babble } from './babbler.ts'
import type { Happening } from './chaos.ts'
import { visit } from './stranger.ts'
import type { World } from './world.ts'

/** What may happen to users and their clocks. */
export const userHappenings: readonly Happening[] = [
  { name: 'a token changes', weight: 2, happen: changeToken },
  { name: 'a stranger comes', weight: 2, happen: comeAsStranger },
  { name: 'somebody babbles', weight: 1, happen: comeToBabble },
  { name: 'the wall clock jumps', weight: 2, happen: jump },
]

const dayMs = 24 * 3_600_000
const mostJumpMs = 400 * dayMs
/** Beside files: their notes go by the wall clock, and one that is forgotten too early lets a file be stored twice. */
const notedJumpMs = 3 * dayMs

function changeToken(world: World): boolean {
  const { dice, tokens, users } = world
  if (users.length === 0) return false
  const user = dice.pick(users, 'a user')
  const knownMs = dice.pick([0, 0, 50, 10_000], 'time until programs know a token')
  world.tell(`the token of ${user} changes, known in ${knownMs} ms`)
  tokens.change(user, knownMs, dice.chance(0.2, 'everybody may have another token'))
  return true
}

function comeAsStranger(world: World): boolean {
  if (world.users.length === 0) return false
  visit(world, world.dice.pick(world.users, 'a user'))
  return true
}

function comeToBabble(world: World): boolean {
  babble(world, world.dice).catch((error: unknown) => world.fail(`a babbler could not leave: ${error}`))
  return true
}

/** No message expires by that: a jump counts as an hour. */
function jump(world: World): boolean {
  const mostMs = world.files.length > 0 ? notedJumpMs : mostJumpMs
  const leadMs = world.dice.integer(-mostMs, mostMs, 'jump of the wall clock')
  world.tell(`the wall clock is ${leadMs} ms ahead`)
  world.machine.time.wallLeadMs = leadMs
  return true
}
