import { StepRetries } from '../../../lib/adapters/cluster/stepRetries.ts'
import { OutcomeUnknown, type Steps } from '../../../lib/adapters/cluster/steps.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { Database } from '../../../lib/adapters/postgres/database.ts'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { migrate } from '../../../lib/adapters/postgres/schema.ts'
import { fixed } from '../../../lib/limits.ts'
import { type TestDatabase, testDatabase } from '../../support/postgres.ts'
import type { MailFixture } from '../cluster/contract/mail.ts'
import { type CuttingProxy, cuttingProxy } from './cuttingProxy.ts'

export interface MailRig extends MailFixture {
  /** Between the connected steps and the database. */
  readonly proxy: CuttingProxy
  readonly sql: TestDatabase['sql']
  /** The URL of the database itself. */
  readonly url: string
  /** Runs a step, and repeats it while its outcome is unknown. Counts these outcomes. */
  run<T>(step: () => Promise<T>): Promise<T>
  unknown: number
}

/** Opens mailboxes in a new database, on this server or on the shared one. */
export async function mailRig(server?: string): Promise<MailRig> {
  const at = await testDatabase(server)
  const proxy = await cuttingProxy(at.url)
  const retries = new StepRetries(nodePlatform().clock, new AbortController().signal)
  const opened: Steps[] = []
  await using database = new Database(at)
  await database.open()
  await migrate(database)
  const rig: MailRig = {
    ...{ proxy, sql: at.sql, url: at.url, unknown: 0 },
    run(step) {
      return retries.run(async () => {
        try {
          return await step()
        } catch (error) {
          if (error instanceof OutcomeUnknown) rig.unknown++
          throw error
        }
      })
    },
    async connect() {
      const steps = postgresSteps({ url: proxy.url, connections: 4 })
      await steps.open()
      opened.push(steps)
      return steps
    },
    async [Symbol.asyncDispose]() {
      for (const steps of opened) await steps[Symbol.asyncDispose]()
      await proxy[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
  return rig
}

/** The counters of mailboxes and servers, and what they count, as text. */
export async function countersOf({
  sql,
}: Pick<TestDatabase, 'sql'>): Promise<{ readonly counted: unknown; readonly found: unknown }> {
  const [counted] = await sql(`
    SELECT (SELECT sum(messages) FROM ospd.server)::int AS messages, (SELECT sum(bytes) FROM ospd.server)::int AS bytes, (SELECT sum(ids) FROM ospd.server)::int AS ids,
      (SELECT jsonb_agg(jsonb_build_array(id, messages, bytes, ids) ORDER BY id) FROM ospd.box) AS boxes`)
  const [found] = await sql(`
    SELECT (SELECT count(*) + count(*) FILTER (WHERE asks) FROM ospd.mail)::int AS messages,
      (SELECT coalesce(sum(bytes + CASE WHEN asks THEN ${fixed.receiptBytes} ELSE 0 END), 0) FROM ospd.mail)::int AS bytes, (SELECT count(*) FROM ospd.sent)::int AS ids,
      (SELECT jsonb_agg(jsonb_build_array(b.id, m.messages, m.bytes, s.ids) ORDER BY b.id) FROM ospd.box b
        CROSS JOIN LATERAL (SELECT count(*) AS messages, coalesce(sum(bytes), 0) AS bytes FROM ospd.mail WHERE box = b.id) m
        CROSS JOIN LATERAL (SELECT count(*) AS ids FROM ospd.sent WHERE sender = b.id) s) AS boxes`)
  return { counted, found }
}
