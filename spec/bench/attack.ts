/**
 * `npm run bench:attack`: the resident memory of the built `ospd serve` before, in and after each attack, and how long the
 * small uploads of an honest client take meanwhile. The attackers are a process of their own. Linux only.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { connect } from '../../lib/index.ts'
import { KiB } from '../../lib/limits.ts'
import { tcp, usersFile } from '../../lib/node.ts'
import { attacks, knownUsers } from '../support/attacks.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { type Running, startNode } from '../support/processes.ts'

const attackMs = Number(process.env.SECONDS ?? 20) * 1_000

type Attack = keyof typeof attacks

/** Those on a server with a list of users; to the others anybody of this machine comes in. */
const onTokens: readonly (Attack | undefined)[] = ['a storm of wrong tokens for names that are known']

/** In MiB. */
function resident({ child }: Running): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/u.exec(status)?.[1] ?? 0) / 1024
}

/** How long uploads of 1 KiB take, one about every 50 ms, until `signal` aborts: sorted. */
async function uploads(port: number, token: string | undefined, signal: AbortSignal): Promise<number[]> {
  const client = await connect({
    to: tcp({ port }),
    user: 'honest',
    ...(token !== undefined && { token: async () => token }),
  })
  const content = patterned(KiB)
  const times: number[] = []
  while (!signal.aborted) {
    const began = performance.now()
    const { finished } = await client.uploads.add(memorySource(`${times.length % 100}`, content))
    await finished
    times.push(performance.now() - began)
    await pause(50)
  }
  await client.close()
  return times.sort((a, b) => a - b)
}

/** Makes a list of users in a data directory; resolves with the token of the honest one. */
async function register(data: string): Promise<string> {
  const users = usersFile(data)
  for (const name of knownUsers) await users.add(name)
  return await users.add('honest')
}

/** An attack from another process, or none, on a daemon of its own. */
async function measure(attack: Attack | undefined): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), 'ospd-attack-'))
  const token = onTokens.includes(attack) ? await register(data) : undefined
  const server = startNode('dist/bin/ospd.js', ['serve', '--port', '0', '--data', data, '--quiet'])
  const [, port = ''] = await server.printed(/ready on [^:]+:(\d+)/u)
  const over = new AbortController()
  const honest = uploads(Number(port), token, over.signal)
  await pause(3_000)
  const before = resident(server)
  let most = before
  const look = setInterval(() => {
    most = Math.max(most, resident(server))
  }, 50)
  const attacker = attack && fork(import.meta.filename, [attack, port], { execArgv: ['--import', 'tsx'] })
  await pause(attackMs)
  if (attacker) {
    const ended = once(attacker, 'exit')
    attacker.kill('SIGKILL')
    await ended
  }
  over.abort()
  const times = await honest
  await pause(5_000)
  clearInterval(look)
  const after = resident(server)
  await server.kill('SIGTERM')
  const lines = server.stderr.split('\n').length - 1
  rmSync(data, { recursive: true, force: true })
  const [half = 0, late = 0, last = 0] = [0.5, 0.99, 1].map((part) => times[Math.ceil(part * times.length) - 1])
  console.log(
    `${attack ?? 'no attack'}: ${before.toFixed(0)} MiB before, ${most.toFixed(0)} at most, ${after.toFixed(0)} after; ` +
      `${times.length} uploads of 1 KiB: p50 ${half.toFixed(1)} ms, p99 ${late.toFixed(1)} ms, at most ${last.toFixed(1)} ms; ` +
      `${lines} log lines`,
  )
}

const [named, at] = process.argv.slice(2)
if (named !== undefined && named in attacks) await attacks[named as Attack](Number(at), new AbortController().signal)
else for (const attack of [undefined, ...(Object.keys(attacks) as Attack[])]) await measure(attack)
