import type { Happening } from './chaos.ts'
import type { Program, World } from './world.ts'

/** What may happen to processes. */
export const processHappenings: readonly Happening[] = [
  { name: 'the server is killed', weight: 3, happen: (world) => world.server.kill(false) },
  { name: 'the power fails', weight: 3, happen: (world) => world.server.kill(true) },
  { name: 'the server is stopped', weight: 2, happen: (world) => world.server.stop() },
  { name: 'a client is killed', weight: 5, happen: (world) => withProgram(world, true, (program) => program.kill()) },
  { name: 'the server freezes', weight: 2, happen: (world) => world.server.freeze(drawFreezeMs(world)) },
  { name: 'a client freezes', weight: 4, happen: freezeProgram },
]

/** What mends others. */
export const processMendings: readonly Happening[] = [
  { name: 'the server starts', weight: 8, happen: (world) => world.server.start() },
  { name: 'a client starts', weight: 12, happen: (world) => withProgram(world, false, (program) => program.start()) },
]

function freezeProgram(world: World): boolean {
  return withProgram(world, true, (program) => program.freeze(drawFreezeMs(world)))
}

/** Often so long that the other end takes it for dead. */
function drawFreezeMs({ dice, limits }: World): number {
  return dice.integer(
    1,
    dice.pick([1_000, 4 * limits.keepAliveMs], 'kind of a freeze'),
    'time that a process is frozen',
  )
}

function withProgram(world: World, running: boolean, act: (program: Program) => void): boolean {
  const fitting = world.programs.filter((program) => program.running === running)
  if (fitting.length === 0) return false
  act(world.dice.pick(fitting, 'a program'))
  return true
}
