import assert from 'node:assert/strict'
import { getActiveResourcesInfo } from 'node:process'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Limits } from '../../lib/limits.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import { bystander } from './bystander.ts'
import { ServerRig } from './serverRig.ts'
import { turns } from './turns.ts'

/** Node's platform, with a count of the pending alarms. */
function counting(): Platform & { readonly alarms: ReadonlySet<object> } {
  const platform = nodePlatform()
  const alarms = new Set<object>()
  const alarm = (atMs: number, run: () => void): Disposable => {
    const set = platform.clock.alarm(atMs, () => {
      alarms.delete(set)
      run()
    })
    alarms.add(set)
    return {
      [Symbol.dispose]() {
        alarms.delete(set)
        set[Symbol.dispose]()
      },
    }
  }
  return { ...platform, clock: { ...platform.clock, alarm }, alarms }
}

const connections = () => getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length

/**
 * Attacks a server on disk over TCP while a healthy client uploads files. Fails if the attack disturbs this client,
 * causes an error in the server, or leaves a link, an instance, a connection or an alarm behind. Resolves with the
 * codes that links were closed with, except those of the healthy client.
 */
export async function besieged(
  attack: (port: number, rig: ServerRig) => Promise<void>,
  limits: Partial<Limits> = {},
): Promise<readonly unknown[]> {
  const platform = counting()
  await using rig = await ServerRig.onDisk({ parkedMs: 1, ...limits }, { platform })
  const port = rig.server.addresses[0]?.port ?? 0
  // The server's own alarms, such as the one for the age limits.
  const alarms = platform.alarms.size
  {
    await using beside = bystander(port)
    await beside.undisturbed()
    await attack(port, rig)
    await beside.undisturbed()
    await turns(() => rig.server.status().links === 1)
    assert.deepEqual(rig.server.status().users, ['alice'])
  }
  assert.deepEqual(
    rig.log.filter(({ level }) => level === 'error'),
    [],
  )
  await turns(() => rig.server.status().links === 0 && connections() === 0 && platform.alarms.size === alarms)
  const { gauges, ...status } = rig.server.status()
  assert.deepEqual(status, { links: 0, users: [], online: [], uploads: [] })
  const left = Object.entries(gauges).filter(([name, value]) => value > 0 && !name.startsWith('remembered'))
  assert.deepEqual(left, [])
  return rig.log.filter(({ event, user }) => event === 'link-closed' && user !== 'alice').map(({ code }) => code)
}
