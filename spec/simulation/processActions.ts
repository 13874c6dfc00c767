import type { Limits } from '../../lib/limits.ts'
import type { SeededRandom } from '../support/random.ts'
import type { Action } from './action.ts'
import type { Program } from './program.ts'
import type { ServerActor } from './serverActor.ts'

/** The parts of a world that these actions use. */
export interface ProcessParts {
  readonly limits: Limits
  readonly server: ServerActor
  readonly programs: readonly Program[]
  readonly dice: SeededRandom
}

/** Actions on processes. */
export const processActions: readonly Action<ProcessParts>[] = [
  { name: 'the server is killed', weight: 3, apply: ({ server, dice }) => server.kill(false, dice) },
  { name: 'the power fails', weight: 3, apply: ({ server, dice }) => server.kill(true, dice) },
  { name: 'the server is stopped', weight: 2, apply: (parts) => parts.server.stop() },
  { name: 'a client is killed', weight: 5, apply: (parts) => withProgram(parts, true, (program) => program.kill()) },
  { name: 'the server freezes', weight: 2, apply: (parts) => parts.server.freeze(generateFreezeMs(parts)) },
  { name: 'a client freezes', weight: 4, apply: freezeProgram },
]

/** Actions that undo others; they exist in every world. */
export const processFixes: readonly Action<ProcessParts>[] = [
  { name: 'the server starts', weight: 8, apply: (parts) => parts.server.start() },
  { name: 'a client starts', weight: 12, apply: (parts) => withProgram(parts, false, (program) => program.start()) },
]

function freezeProgram(parts: ProcessParts): boolean {
  return withProgram(parts, true, (program) => program.freeze(generateFreezeMs(parts)))
}

/** Often so long that the other end considers it dead. */
function generateFreezeMs({ dice, limits }: ProcessParts): number {
  return dice.integer(
    1,
    dice.pick([1_000, 4 * limits.keepAliveMs], 'kind of a freeze'),
    'time that a process is frozen',
  )
}

function withProgram(parts: ProcessParts, running: boolean, act: (program: Program) => void): boolean {
  const fitting = parts.programs.filter((program) => program.running === running)
  if (fitting.length === 0) return false
  act(parts.dice.pick(fitting, 'a program'))
  return true
}
