import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'

/** Users whose names the attackers know, and on a server with users also their tokens. */
export const knownUsers = Array.from({ length: 20 }, (_, at) => `user-${at}`)

/**
 * Fills a data directory with 2,000 unfinished uploads of each of four users and 1,000 of a fifth, which are the
 * maximum numbers, and with 20,000 files of the first user in one folder.
 */
async function fillDirectory(data: string): Promise<void> {
  const storage = disk(data)
  await storage.open(nodePlatform())
  const owner = { node: 1, instance: 1, session: '0'.repeat(32) }
  const how = { fresh: true, takeOver: false, onConflict: 'replace', at: Date.now() } as const
  for (const [at, user] of knownUsers.slice(0, 5).entries()) {
    const uploads = Array.from({ length: at < 4 ? 2_000 : 1_000 }, (_, at) => {
      return { user, name: `unfinished-${at}`, size: 9, modifiedAt: 1, algorithm: 'sha256' } as const
    })
    await Promise.all(uploads.map((want) => storage.transfers.claim(want, owner, how)))
  }
  await storage[Symbol.asyncDispose]()
  const folder = join(data, 'files', knownUsers[0] ?? '', 'folder')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  for (let at = 0; at < 20_000; at++) writeFileSync(join(folder, `${at}`), '', { mode: 0o600 })
}

/** A daemon that an attack needs. */
export interface ServerKind {
  /** Whether it has a list of users. All `knownUsers` then have tokens, which the attackers know. */
  readonly users: boolean
  /** Flags of `ospd serve`. */
  readonly flags: readonly string[]
  /** Fills the data directory before the daemon starts. */
  readonly fill?: (data: string) => Promise<void>
}

/** The daemons. All attacks on one daemon run one after another. */
export const serverKinds = {
  open: { users: false, flags: [] },
  users: { users: true, flags: [] },
  keeping: { users: true, flags: ['--quota', '1G'], fill: fillDirectory },
} as const satisfies Record<string, ServerKind>
