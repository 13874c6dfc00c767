import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { type Limits, MiB } from '../../lib/limits.ts'
import { healthyClient } from './healthyClient.ts'
import { type Report, watchedServer } from './watchedServer.ts'

/** Disables the limits of the log, which reports how links have ended. */
const allLines = { logLinesPerUser: 10_000, logLinesPerAddress: 10_000 }

/** Timers of the log, which end when it reports the omitted lines about users and about refused links. */
const logTimers = 2

/**
 * Runs `attack` on a server in its own process, while a healthy client uploads. Fails if the attack disturbs this
 * client, makes the server's memory grow by `growth` bytes, causes an error in the server, or leaves anything behind.
 * Resolves with the codes that links were closed with.
 */
export async function survivesAttack(
  growth: number,
  attack: (port: number, report: () => Promise<Report>) => Promise<void>,
  limits: Partial<Limits> = {},
) {
  await using server = await watchedServer({ links: 300, parkedMs: 1, ...allLines, ...limits })
  const log: Report['log'][number][] = []
  let peak = 0
  const report = async () => {
    const told = await server.report()
    log.push(...told.log)
    peak = Math.max(peak, told.peakBytes)
    return told
  }
  // The server's own timers, such as the one for the age limits.
  const { timers } = await report()
  {
    await using beside = healthyClient(server.port)
    await beside.undisturbed()
    const { usedBytes } = await report()
    peak = 0
    await Promise.all([attack(server.port, report), beside.undisturbed()])
    await beside.undisturbed()
    await report()
    assert.ok(peak - usedBytes < growth, `memory grew by ${Math.round((peak - usedBytes) / MiB)} MiB`)
  }
  let last = await report()
  while (last.connections > 0 || last.timers > timers + logTimers) {
    await pause(20)
    last = await report()
  }
  const { gauges, ...status } = last.status
  assert.deepEqual(status, { links: 0, users: [], online: [], uploads: [] })
  const left = Object.entries(gauges).filter(([name, value]) => value > 0 && !name.startsWith('remembered'))
  assert.deepEqual(left, [])
  assert.deepEqual(
    log.filter(({ level }) => level === 'error'),
    [],
  )
  return log.filter(({ event, user }) => event === 'link-closed' && user !== 'alice').map(({ code }) => code)
}
