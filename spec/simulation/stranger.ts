import { createClient } from '../../lib/client/client.ts'
import { OspError } from '../../lib/errors.ts'
import { SimulatedProcess } from './process.ts'
import type { World } from './world.ts'

/** How long somebody tries to come in. */
const patienceMs = 30_000

/** Somebody comes as this user, with a token that is not theirs: they must not be let in. */
export function visit(world: World, user: string): void {
  const process = new SimulatedProcess(`stranger ${world.visitors.size + 1}`, world.machine)
  world.tell(`${process.name} comes as ${user}`)
  const client = createClient({
    to: world.network.transportOf(process),
    user,
    token: async () => world.tokens.stale(user),
    platform: process.platform,
    software: 'simulation',
    retryForMs: patienceMs,
  })
  const visitor = { process, client, gone: false }
  world.visitors.add(visitor)
  const leave = async () => {
    await client.close()
    world.bounds.ended(process)
    visitor.gone = true
  }
  client
    .online()
    .then(
      () => world.fail(`${process.name} was let in as ${user} with a wrong token`),
      (error: unknown) => world.tell(`${process.name} is turned away: ${OspError.from(error).code}`),
    )
    .then(leave)
    .catch((error: unknown) => world.fail(`${process.name} could not leave: ${error}`))
}
