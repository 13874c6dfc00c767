import assert from 'node:assert/strict'
import { OspError } from '../../lib/errors.ts'
import type { Limits } from '../../lib/limits.ts'
import { limitsWith } from '../../lib/limits.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import type { ServerEntry } from '../../lib/server/logEvents.ts'
import { BoundedLog } from '../../lib/server/serverLog.ts'
import { heldRig, MessageClient } from '../support/messageClient.ts'
import { spec } from '../support/spec.ts'
import { VirtualClock } from '../support/virtualClock.ts'

function logOf(limits: Partial<Limits> = {}) {
  const clock = new VirtualClock()
  const entries: LogEntry[] = []
  const log = new BoundedLog((entry) => entries.push(entry), limitsWith(limits), clock)
  return {
    log,
    clock,
    entries,
    /** How many lines of this event there are. */
    count: (event: string) => entries.filter((entry) => entry.event === event).length,
    /** What was said to be left out. */
    leftOut: () =>
      entries.flatMap(({ event, level: _level, ...fields }) => (event === 'lines-left-out' ? [fields] : [])),
  }
}

const opened = (user = 'alice', from = '192.0.2.1') =>
  ({ level: 'info', event: 'link-open', user, from, node: 1 }) as const
const cancelled = { level: 'info', event: 'upload-cancelled', user: 'alice', from: '192.0.2.1', name: 'a' } as const
const stored = { level: 'info', event: 'upload-stored', user: 'alice', from: '192.0.2.1', name: 'a' } as const

function times(count: number, write: () => void): void {
  for (let time = 0; time < count; time++) write()
}

spec('lines about one user', (it) => {
  it('are limited in each ten seconds; then one line says how many of each event were left out', () => {
    const { log, clock, count, leftOut } = logOf()
    times(1_000, () => log.write(opened()))
    assert.equal(count('link-open'), 50)
    times(100, () => log.write(cancelled))
    assert.deepEqual([count('upload-cancelled'), leftOut()], [25, []])
    clock.pass(10_000)
    assert.deepEqual(leftOut(), [{ user: 'alice', lines: 1_025, events: 'link-open 950, upload-cancelled 75' }])
    clock.pass(100_000)
    assert.equal(leftOut().length, 1)
    log.write(opened())
    assert.equal(count('link-open'), 51)
  })

  it('of one event leave room for lines of other events and of other users', () => {
    const { log, count } = logOf()
    times(1_000, () => log.write(opened()))
    times(10, () => log.write(cancelled))
    times(10, () => log.write(opened('bob')))
    assert.deepEqual([count('link-open'), count('upload-cancelled')], [60, 10])
  })

  it('that report stored files are never left out, and do not count against the limit', () => {
    const { log, count } = logOf()
    times(1_000, () => log.write(opened()))
    times(1_000, () => log.write(stored))
    times(10, () => log.write(cancelled))
    assert.deepEqual([count('upload-stored'), count('upload-cancelled')], [1_000, 10])
  })

  it('that clients cannot cause are never left out', () => {
    const { log, entries } = logOf()
    const entry: ServerEntry = { level: 'error', event: 'uploads-damaged', file: 'a', offset: 1, bytes: 1 }
    times(1_000, () => log.write(entry))
    assert.equal(entries.length, 1_000)
  })

  it('are counted together with lines of other names from one address', () => {
    const { log, clock, count, leftOut } = logOf()
    let user = 0
    times(1_000, () => log.write(opened(`user ${user++}`, '2001:db8::1')))
    times(10, () => log.write(opened('bob', '2001:db8:0:1::1')))
    assert.equal(count('link-open'), 150 + 10)
    clock.pass(10_000)
    assert.deepEqual(leftOut(), [{ from: '2001:db8:0:0::/64', lines: 850, events: 'link-open 850' }])
  })

  it('that name any number of recipients are counted together', () => {
    const { log, count } = logOf()
    let user = 0
    times(1_000, () => log.write({ level: 'warn', event: 'messages-expired', user: `user ${user++}`, messages: 1 }))
    assert.equal(count('messages-expired'), 50)
  })

  it('are counted for a limited number of users and addresses, and the omitted lines of a forgotten one are reported', () => {
    const { log, leftOut } = logOf({ rememberedAddresses: 4 })
    times(60, () => log.write(opened()))
    for (const user of ['bob', 'carol', 'dave', 'erin'])
      log.write({ level: 'error', event: 'mailbox-failed', user, text: '' })
    assert.deepEqual([log.remembered, leftOut()], [4, [{ user: 'alice', lines: 10, events: 'link-open 10' }]])
  })

  it('are reported when the server closes, if some were left out', async () => {
    await using rig = await heldRig({ logLinesPerUser: 1, workMsPerSecond: 1e6 })
    for (const session of Array.from({ length: 30 }, (_, at) => `${at}`)) {
      await MessageClient.listen(rig, 'mallory', { session })
    }
    const superseded = () => rig.log.filter(({ event }) => event === 'registration-superseded').length
    assert.ok(superseded() <= 5, `${superseded()} lines`)
    await rig.server.close()
    const left = rig.log.filter(({ event }) => event === 'lines-left-out')
    const [{ user, lines, events } = {} as LogEntry] = left
    assert.deepEqual([left.length, user], [1, 'mallory'])
    const said = rig.log.filter(({ event }) => /^link-(?:open|closed)$|^registration-superseded$/u.test(event)).length
    assert.equal(Number(lines) + said, 30 + 30 + 29)
    assert.match(String(events), /^link-open \d+, registration-superseded \d+, link-closed \d+$/u)
  })
})

spec('lines about refused links', (it) => {
  const wrong = new OspError('unauthorized')
  const refusal = (log: BoundedLog, from: string, why = wrong) => log.refused(from, { from, user: 'alice' }, why)

  it('are limited for each minute and address, and do not count for the user whose name they give', () => {
    const { log, clock, count, leftOut } = logOf()
    times(100, () => refusal(log, '192.0.2.1'))
    refusal(log, '192.0.2.2')
    log.write(opened())
    assert.deepEqual([count('link-refused'), count('link-open')], [61, 1])
    clock.pass(60_000)
    assert.deepEqual(leftOut(), [{ from: '192.0.2.1', lines: 40, events: 'link-refused 40' }])
  })

  it('report an address above its rate once a minute', () => {
    const { log, count } = logOf()
    times(100, () => refusal(log, '192.0.2.1', new OspError('rate-limited')))
    assert.equal(count('link-refused'), 1)
  })

  it('are limited for all addresses together, and no further addresses are remembered then', () => {
    const { log, clock, count, leftOut } = logOf()
    let origin = 0
    times(10_000, () => refusal(log, `2001:db8:${(origin++).toString(16)}:0::/64`))
    assert.deepEqual([count('link-refused'), log.remembered], [1_800, 1_801])
    clock.pass(60_000)
    assert.deepEqual(leftOut(), [{ lines: 8_200, events: 'link-refused 8200' }])
  })
})
