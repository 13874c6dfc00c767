import { RunningClient } from '../../lib/client/runningClient.ts'
import { OspError } from '../../lib/errors.ts'
import { SimulatedProcess } from './process.ts'
import type { VisitParts } from './visit.ts'

/** How long a client tries to log in. */
const patienceMs = 30_000

/** A client that logs in as this user with an invalid token, and must be refused. */
export function visit(parts: VisitParts, user: string): void {
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
      () => parts.trace.fail(`${process.name} was let in as ${user} with a wrong token`),
      (error: unknown) => parts.trace.tell(`${process.name} is turned away: ${OspError.from(error).code}`),
    )
    .then(leave)
    .catch((error: unknown) => parts.trace.fail(`${process.name} could not leave: ${error}`))
}
