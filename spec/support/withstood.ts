import assert from 'node:assert/strict'
import { type Limits, MiB } from '../../lib/limits.ts'
import { bystander } from './bystander.ts'
import { type Report, watchedServer } from './watchedServer.ts'

/** The log tells how links have ended: no line of it is left out. */
const allLines = { logLinesPerUser: 10_000, logLinesPerAddress: 10_000 }

/** Timers of the log: they end when it says which lines about users, and about refused links, were left out. */
const logTimers = 2

/**
 * Lets `attack` loose on a server in a process of its own, beside a client that uploads. Proves that this client was not
 * disturbed, that the server took at most `growth` bytes more than before, has found no fault of its own, and holds
 * nothing of the attack afterwards. Resolves with the codes that links were closed with.
 */
export async function withstood(
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
  // The server's own, such as the one for what has passed its age limit.
  const { timers } = await report()
  {
    await using beside = bystander(server.port)
    await beside.undisturbed()
    const { usedBytes } = await report()
    peak = 0
    await Promise.all([attack(server.port, report), beside.undisturbed()])
    await beside.undisturbed()
    await report()
    assert.ok(peak - usedBytes < growth, `it took ${Math.round((peak - usedBytes) / MiB)} MiB more`)
  }
  let last = await report()
  while (last.connections > 0 || last.timers > timers + logTimers) last = await report()
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
