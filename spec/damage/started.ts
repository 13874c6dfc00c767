import { join } from 'node:path'
import { fingerprintOf } from '../../lib/adapters/net/tls/identity.ts'
import { type LogEntry, OspError, serve } from '../../lib/index.ts'
import { disk, ownIdentity, tcp, tls, usersFile } from '../../lib/node.ts'
import { start } from '../support/commands.ts'
import type { Reach } from './holdings.ts'
import { limitFlags } from './place.ts'

/** A server that was started from a data directory. */
export interface Started extends AsyncDisposable {
  readonly reach: Reach
  /** All logged warnings and errors, as text. */
  problems(): string
}

/** Starts a server. Rejects with the reason if it does not start. */
export type Start = (data: string) => Promise<Started>

const limits = { chunkBytes: 4_096, windowBytes: 16_384, checkpointBytes: 8_192, smallFileBytes: 0 }

/** In this process. With TLS, clients verify it by `fingerprint`. */
export const startHere =
  (fingerprint?: string): Start =>
  async (data) => {
    const log: LogEntry[] = []
    const secure = fingerprint === undefined ? undefined : await ownIdentity(join(data, 'tls'))
    const server = await serve({
      storage: disk(data),
      listen: secure ? tls({ port: 0, ...secure }) : tcp({ port: 0 }),
      authenticator: usersFile(data),
      limits,
      log: (entry) => log.push(entry),
    })
    const { port } = server.addresses[0] ?? { port: 0 }
    return {
      reach: reachOf(port, fingerprint),
      problems: () =>
        log
          .filter(({ level }) => level === 'warn' || level === 'error')
          .map((entry) => JSON.stringify(entry))
          .join('\n'),
      [Symbol.asyncDispose]: () => server.close(),
    }
  }

/** Starts `ospd serve` in its own process. */
export const startDaemon =
  (fingerprint?: string): Start =>
  async (data) => {
    const secure = fingerprint === undefined ? [] : ['--tls', 'auto']
    const running = start('ospd', ['serve', '--port', '0', '--data', data, ...limitFlags, ...secure])
    const [, port] = await running.printed(/ready on 127\.0\.0\.1:(\d+)/u).catch(() => {
      throw new Error(running.stderr)
    })
    return {
      reach: reachOf(Number(port), fingerprint),
      problems: () =>
        running.stderr
          .split('\n')
          .filter((line) => / (?:warn|error) /u.test(line))
          .join('\n'),
      [Symbol.asyncDispose]: () => running.kill(),
    }
  }

function reachOf(port: number, fingerprint: string | undefined): Reach {
  if (fingerprint === undefined) return { port }
  const trust = (seen: { readonly fingerprint: string }) => {
    if (seen.fingerprint !== fingerprint) throw new OspError('unauthorized', 'the server presents another key')
  }
  return { port, to: tls({ port, trust }) }
}

export { fingerprintOf }
