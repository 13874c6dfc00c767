import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type LogEntry, OspError } from 'ospd'
import { askControl } from 'ospd/node'
import { statusEvent } from '../../../bin/common/events.ts'
import { openControl, type ReportedServer } from '../../../bin/serve/control.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const limits = { mailboxMessages: 100, mailboxBytes: 1_000 }
const fingerprint = () => undefined
const log = () => {}

/** Returns a name with the maximum length in JSON. */
const nameOf = (n: number, bytes: number) => `${n}`.padEnd(bytes, '"')

const users = Array.from({ length: 10_005 }, (_, n) => nameOf(n, 64))

/** A server with more users, uploads and mailboxes than a status lists. */
const crowded: ReportedServer = {
  addresses: [{ host: '127.0.0.1', port: 1, local: true }],
  status: () => ({
    links: 20_000,
    users,
    online: users.map((user, node) => ({ user, node })),
    uploads: users
      .slice(0, 1_003)
      .map((user, n) => ({ user, name: nameOf(n, 1_024), size: 9, instance: n, node: n, progress: 2, durable: 1 })),
  }),
  unfinished: async () => [],
  removeUnfinished: async () => false,
  mailboxes: async () => users.map((user, n) => ({ user, messages: 1, bytes: n })),
}

async function statusOf(server: ReportedServer, problem?: () => string | undefined) {
  await using at = await place()
  await using _control = await openControl(at.path, server, { limits, fingerprint, log, ...(problem && { problem }) })
  return statusEvent.parse(await askControl(at.path, { ask: 'status' }))
}

spec('the status of a daemon', (it) => {
  it('is bounded, and counts the omitted entries', async () => {
    const { online, uploads, mailboxes, ...more } = await statusOf(crowded)
    assert.deepEqual([online.length, uploads.length, mailboxes.length], [10_000, 1_000, 10_000])
    assert.deepEqual([more.moreOnline, more.moreUploads, more.moreMailboxes], [5, 3, 5])
  })

  it('lists the fullest mailboxes first, by messages or by bytes', async () => {
    const levels = [
      { user: 'a', messages: 10, bytes: 10 },
      { user: 'b', messages: 90, bytes: 100 },
      { user: 'c', messages: 20, bytes: 950 },
    ]
    const { mailboxes } = await statusOf({ ...crowded, mailboxes: async () => levels })
    assert.deepEqual(
      mailboxes.map(({ user }) => user),
      ['c', 'b', 'a'],
    )
  })

  it('has everything but the mailboxes, and the reason, if the storage does not return them', async () => {
    const silent = { ...crowded, mailboxes: () => new Promise<never>(() => {}) }
    const late = await statusOf(silent)
    assert.deepEqual([late.links, late.mailboxes, late.problem], [20_000, [], 'the storage has not responded for 2 s'])
    const known = await statusOf(silent, () => 'the database is away')
    assert.deepEqual([known.links, known.problem], [20_000, 'the database is away'])
    const failing = { ...crowded, mailboxes: () => Promise.reject(new OspError('internal', 'the database has failed')) }
    assert.equal((await statusOf(failing)).problem, 'the database has failed')
    assert.equal((await statusOf(crowded)).problem, undefined)
  })

  it('rejects unknown requests', async () => {
    await using at = await place()
    await using _control = await openControl(at.path, crowded, { limits, fingerprint, log })
    for (const request of [{}, { ask: 'stop' }, { ask: 'status', more: 1 }]) {
      await assert.rejects(askControl(at.path, request), { code: 'malformed' })
    }
  })
})

spec('the control socket of a daemon', (it) => {
  it('is created later if it cannot be created at the start', async () => {
    await using at = await place()
    await at.write('control.sock', 'in the way')
    const events: string[] = []
    const isOpen = deferred<void>()
    const noted = ({ event }: LogEntry) => {
      events.push(event)
      if (event === 'control-open') isOpen.resolve()
    }
    await using _control = await openControl(at.path, crowded, { limits, fingerprint, log: noted, retryMs: 5 })
    await pause(50)
    assert.deepEqual(events, ['no-control'])
    rmSync(join(at.path, 'control.sock'))
    await isOpen.promise
    assert.deepEqual(events, ['no-control', 'control-open'])
    assert.equal(statusEvent.parse(await askControl(at.path, { ask: 'status' })).links, 20_000)
  })
})
