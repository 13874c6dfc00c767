import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Limits } from '../../lib/limits.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import type { ServerStatus } from '../../lib/server/status.ts'
import { pathOf } from './processes.ts'
import { programOf } from './sources.ts'

/** A report of a watched server. */
export interface Report {
  readonly status: ServerStatus
  readonly log: readonly LogEntry[]
  /** Peak memory since the previous report, in bytes, after garbage collection. */
  readonly peakBytes: number
  /** Memory in use now, in bytes, after garbage collection. */
  readonly usedBytes: number
  /** Connections, and timers that keep the process alive. */
  readonly connections: number
  readonly timers: number
}

/** A server on disk and TCP in its own process, which reports its memory and handles. */
export interface WatchedServer extends AsyncDisposable {
  readonly port: number
  report(): Promise<Report>
}

/** `peaks`: whether it measures its memory continuously, which takes time. */
export async function watchedServer(limits: Partial<Limits> = {}, { peaks = true } = {}): Promise<WatchedServer> {
  const directory = await mkdtemp(join(tmpdir(), 'ospd-watched-'))
  const args = [directory, JSON.stringify(limits), String(peaks)]
  const program = pathOf(programOf('spec/support/watchedProcess.ts'))
  const child = fork(program, args, { execArgv: ['--expose-gc'] })
  const ended = once(child, 'exit')
  const next = async <T>(): Promise<T> => {
    const [told] = await Promise.race([
      once(child, 'message'),
      ended.then(([code, signal]) => {
        throw new Error(`the server exited: ${code ?? signal}`)
      }),
    ])
    return told as T
  }
  const port = await next<number>()
  return {
    port,
    report() {
      const told = next<Report>()
      child.send('report')
      return told
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
      await rm(directory, { recursive: true, force: true })
    },
  }
}
