import assert from 'node:assert/strict'
import type { Notice } from '../../../lib/adapters/cluster/steps.ts'
import { Database } from '../../../lib/adapters/postgres/database.ts'
import { PostgresNotices } from '../../../lib/adapters/postgres/notices.ts'
import { databaseMissing, testDatabase } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'

/** The notices that a server has heard, in their order. */
class Heard {
  readonly notices: Notice[] = []
  #changed = () => {}

  add(notice: Notice): void {
    this.notices.push(notice)
    this.#changed()
  }

  /** Resolves when `holds` returns true. */
  until(holds: (notices: readonly Notice[]) => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = () => {
        if (holds(this.notices)) resolve()
      }
      this.#changed()
    })
  }

  /** Resolves when a notice equals this one. */
  has(notice: Notice): Promise<void> {
    const text = JSON.stringify(notice)
    return this.until((notices) => notices.some((each) => JSON.stringify(each) === text))
  }
}

async function rig() {
  const at = await testDatabase()
  const database = new Database(at)
  await database.open()
  const notices = new PostgresNotices(database)
  return {
    at,
    database,
    notices,
    hear(server: number) {
      const heard = new Heard()
      notices.hear(server, (notice) => heard.add(notice))
      return heard
    },
    async [Symbol.asyncDispose]() {
      await notices[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
}

const unknown: Notice = { kind: 'unknown' }

spec('the notifications of a database', (it) => {
  if (databaseMissing !== undefined) return it.skip('arrive', databaseMissing)

  it('begin with one of kind `unknown`, since earlier ones may have been missed', async () => {
    await using opened = await rig()
    const heard = opened.hear(1)
    await heard.until(({ length }) => length > 0)
    assert.deepEqual(heard.notices, [unknown])
  })

  it('name up to several thousand mailboxes, in parts', async () => {
    await using opened = await rig()
    const heard = opened.hear(1)
    await heard.has(unknown)
    const users = Array.from({ length: 1_000 }, (_, at) => `user "${at}" é`)
    await opened.notices.tell(1, { kind: 'mail', users })
    await heard.until(
      (notices) => notices.flatMap((notice) => (notice.kind === 'mail' ? notice.users : [])).length >= 1_000,
    )
    assert.deepEqual(
      heard.notices.flatMap((notice) => (notice.kind === 'mail' ? notice.users : [])),
      users,
    )
    assert.ok(heard.notices.length > 2, 'one notification has at most 7,999 bytes')
    await opened.notices.tell(1, { kind: 'mail', users: users.map((user) => user.repeat(50)) })
    await heard.until((notices) => notices.filter(({ kind }) => kind === 'unknown').length === 2)
  })

  it('are of kind `unknown` if a later version has sent them', async () => {
    await using opened = await rig()
    const heard = opened.hear(1)
    await heard.has(unknown)
    for (const text of ['', 'no JSON', '{"kind":"mail","users":7}', '{"kind":"later"}']) {
      await opened.at.sql('SELECT pg_notify($1, $2)', ['ospd_1', text])
    }
    await heard.until(({ length }) => length === 5)
    assert.deepEqual(heard.notices, [unknown, unknown, unknown, unknown, unknown])
  })

  it('arrive again after the connection has ended, and begin with one of kind `unknown`', async () => {
    await using opened = await rig()
    const heard = opened.hear(1)
    await heard.has(unknown)
    await opened.at.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    await heard.until((notices) => notices.filter(({ kind }) => kind === 'unknown').length === 2)
    await opened.notices.tell('all', { kind: 'users' })
    await heard.has({ kind: 'users' })
  })

  it('are best effort: `tell` does not reject if the database does not answer', async () => {
    await using opened = await rig()
    await opened.database[Symbol.asyncDispose]()
    await opened.notices.tell('all', { kind: 'users' })
  })
})
