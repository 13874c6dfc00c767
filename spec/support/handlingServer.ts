/**
 * A server of a cluster whose program handles stored files: `handlingServer.ts DATABASE FILES HANDLED`. Appends the name of each
 * handled file to the file HANDLED.
 */
import { appendFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { serve } from '../../lib/index.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import { postgresCluster } from '../../lib/postgres.ts'

const [, , database = '', files = '', handled = ''] = process.argv
const log = ({ event, ...fields }: LogEntry) => console.error(event, JSON.stringify(fields))
const shared = postgresCluster({ database, files, name: 'spec', address: '', otherwise: loopbackOnly(), log })
const { storage, links, authenticator } = shared
const server = await serve({
  ...{ listen: 0, storage, links, authenticator, log },
  limits: { keepAliveMs: 2_000 },
  notify: [{ user: 'ingest' }],
  async onStored({ name, size, content }) {
    let left = size
    for await (const part of content()) left -= part.length
    if (left !== 0) throw new Error(`${left} bytes of ${name} are missing`)
    appendFileSync(handled, `${name}\n`)
    await pause(20)
    return `loaded ${name}`
  },
})
console.log(`ready on 127.0.0.1:${server.addresses[0]?.port}`)
