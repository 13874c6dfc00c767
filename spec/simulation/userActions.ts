import { RunningClient } from '../../lib/client/runningClient.ts'
import { OspError } from '../../lib/errors.ts'
import type { SeededRandom } from '../support/random.ts'
import type { Action } from './action.ts'
import type { SimulatedFile } from './files.ts'
import { sendGarbage } from './garbageSender.ts'
import { SimulatedProcess } from './process.ts'
import type { VisitParts } from './visit.ts'

/** How long a client tries to log in. */
const patienceMs = 30_000

/** A client that logs in as this user with an invalid token, and must be refused. */
function visit(parts: VisitParts, user: string): void {
  const process = new SimulatedProcess(`stale-token client ${parts.visitors.size + 1}`, parts.machine)
  parts.trace.tell(`${process.name} comes as ${user}`)
  const client = new RunningClient({
    to: parts.network.transportOf(process),
    user,
    token: async () => parts.tokens.stale(user),
    platform: process.platform,
    software: 'simulation',
    retryForMs: patienceMs,
  })
  const visitor = { process, client, gone: false }
  parts.visitors.add(visitor)
  const leave = async () => {
    await client.close()
    parts.bounds.ended(process)
    visitor.gone = true
  }
  client
    .online()
    .then(
      () => parts.trace.fail(`${process.name} logged in as ${user} with a wrong token`),
      (error: unknown) => parts.trace.tell(`${process.name} is turned away: ${OspError.from(error).code}`),
    )
    .then(leave)
    .catch((error: unknown) => parts.trace.fail(`${process.name} could not disconnect: ${error}`))
}

/** The parts of a world that these actions use. */
export interface UserParts extends VisitParts {
  readonly users: readonly string[]
  readonly files: readonly SimulatedFile[]
  readonly dice: SeededRandom
}

/** Actions on users and their clocks. */
export const userActions: readonly Action<UserParts>[] = [
  { name: 'a token changes', weight: 2, apply: changeToken },
  { name: 'a client with a stale token connects', weight: 2, apply: connectWithStaleToken },
  { name: 'a client sends garbage', weight: 1, apply: admitGarbageSender },
  { name: 'the wall clock jumps', weight: 2, apply: jump },
]

const dayMs = 24 * 3_600_000
const mostJumpMs = 400 * dayMs
/**
 * In worlds with files: completion markers use the wall clock, and a file is stored twice if its marker is forgotten
 * too early.
 */
const notedJumpMs = 3 * dayMs

function changeToken(parts: UserParts): boolean {
  const { dice, tokens, users } = parts
  if (users.length === 0) return false
  const user = dice.pick(users, 'a user')
  const knownMs = dice.pick([0, 0, 50, 10_000], 'time until programs know a token')
  parts.trace.tell(`the token of ${user} changes, known in ${knownMs} ms`)
  tokens.change(user, knownMs, dice.chance(0.2, 'everybody may have another token'))
  return true
}

function connectWithStaleToken(parts: UserParts): boolean {
  if (parts.users.length === 0) return false
  visit(parts, parts.dice.pick(parts.users, 'a user'))
  return true
}

function admitGarbageSender(parts: UserParts): boolean {
  sendGarbage(parts, parts.dice).catch((error: unknown) =>
    parts.trace.fail(`the garbage sender could not disconnect: ${error}`),
  )
  return true
}

/** No message expires by this: a jump counts as an hour. */
function jump(parts: UserParts): boolean {
  const mostMs = parts.files.length > 0 ? notedJumpMs : mostJumpMs
  const leadMs = parts.dice.integer(-mostMs, mostMs, 'jump of the wall clock')
  parts.trace.tell(`the wall clock is ${leadMs} ms ahead`)
  parts.machine.time.wallLeadMs = leadMs
  return true
}
