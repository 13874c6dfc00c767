import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import { type BoundServeOptions, type Server, startServer } from '../../lib/server/server.ts'
import { FileClient } from './fileClient.ts'
import { RawClient } from './rawClient.ts'

/** A server on a data directory that specs can tamper with, beside a directory outside of it. */
export interface DiskServer extends AsyncDisposable {
  readonly server: Server
  readonly data: string
  readonly log: readonly LogEntry[]
  client(user?: string, session?: string): Promise<FileClient>
  /**
   * Makes `path` below the data directory a link to something outside of it: a file that contains `secret`, or a
   * directory.
   */
  plant(path: string, to?: 'file' | 'directory'): Promise<void>
  /** Fails if anything outside was changed or added. */
  untouched(): Promise<void>
}

export async function diskServer(options: Partial<BoundServeOptions> = {}): Promise<DiskServer> {
  const top = await mkdtemp(join(tmpdir(), 'ospd-hostile-'))
  const [data, outside] = [join(top, 'data'), join(top, 'outside')]
  await mkdir(outside)
  await writeFile(join(outside, 'secret'), 'secret')
  const log: LogEntry[] = []
  const listen = memoryTransport()
  const platform = nodePlatform()
  const server = await startServer({
    platform,
    listen,
    authenticator: loopbackOnly(),
    storage: disk(data),
    log: (entry) => log.push(entry),
    ...options,
  })
  return {
    server,
    data,
    log,
    async client(user = 'alice', session = user) {
      const raw = await RawClient.dial(listen, platform)
      raw.hello({ user, session })
      const { node } = await raw.expect('HelloAck')
      return new FileClient(raw, node)
    },
    async plant(path, to = 'file') {
      const place = join(data, path)
      await rm(place, { recursive: true, force: true })
      await symlink(to === 'file' ? join(outside, 'secret') : outside, place)
    },
    async untouched() {
      assert.deepEqual(await readdir(outside), ['secret'])
      assert.equal(await readFile(join(outside, 'secret'), 'utf8'), 'secret')
    },
    async [Symbol.asyncDispose]() {
      await server.close()
      await rm(top, { recursive: true, force: true })
    },
  }
}
