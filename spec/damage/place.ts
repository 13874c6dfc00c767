import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Client } from '../../lib/client/client.ts'
import { daemon, run } from '../support/commands.ts'
import { clientOf, type Holdings, type Item, say, store, storePartly } from './holdings.ts'

/** A directory in memory if there is one, because flushes there take no time; removed on disposal. */
export async function quickPlace(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ospd-damage-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

const users = ['alice', 'bob', 'carol', 'dave']

/** Small, so that many items of each kind fit into files of a few kilobytes. */
export const limitFlags = ['--chunk', '4K', '--window', '16K', '--checkpoint-size', '8K', '--small-file', '1'] as const

/**
 * Fills a new data directory with the daemon, in two runs: the first one stops cleanly, and the second one is killed.
 * It contains users, a TLS identity, stored files with completion markers, unfinished uploads and messages.
 */
export async function fill(data: string): Promise<Holdings> {
  const holdings: Holdings = { tokens: new Map(), stored: [], unfinished: [], waiting: new Map() }
  for (const user of users) {
    const { stdout } = await run('ospd', ['user', 'add', user, '--data', data])
    holdings.tokens.set(user, stdout.trim())
  }
  const secure = await daemon(data, ['--tls', 'auto'])
  await secure.kill('SIGTERM')
  await fillOnce(data, 1, 'SIGTERM', holdings)
  await fillOnce(data, 2, 'SIGKILL', holdings)
  return holdings
}

async function fillOnce(data: string, round: number, ending: 'SIGTERM' | 'SIGKILL', holdings: Holdings): Promise<void> {
  await using server = await daemon(data, limitFlags)
  const clients: Client[] = []
  const ends: (() => void)[] = []
  const item = (user: string, name: string, bytes: number): Item => {
    const seed = round * 1_000 + holdings.stored.length * 10 + holdings.unfinished.length + 1
    return { user, name: `${name}-${round}`, bytes, seed }
  }
  for (const user of users.slice(0, 3)) {
    const client = clientOf(holdings, user, server)
    clients.push(client)
    await store(client, item(user, 'stored', 9_000), holdings)
    await store(client, item(user, 'folder/below/stored', 100), holdings)
    for (const name of ['a', 'b']) ends.push(await storePartly(client, item(user, `half-${name}`, 60_000), holdings))
    for (let n = 1; n <= 4; n++) await say(client, users, `${user} says ${round}.${n}`, holdings)
  }
  await server.kill(ending)
  const closed = clients.map((client) => client.close())
  for (const end of ends) end()
  await Promise.all(closed)
}

/** Copies a data directory, including the times of its files. */
export async function copyOf(data: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  await cp(data, to, { recursive: true, preserveTimestamps: true, mode: 0, filter: (path) => !path.endsWith('.sock') })
}
