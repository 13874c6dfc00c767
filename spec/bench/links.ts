/**
 * `npm run bench:links -- [--peers DIRECTORY] [--rounds N] [--only REGEX]`: whole commands that send one file over a link with
 * delay and loss, compared with rsync, scp and tus where they are installed. Needs root and TUN devices. Prints the median in
 * seconds.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { MiB } from '../../lib/limits.ts'
import { pathOf, type Running, startCommand } from '../support/processes.ts'
import { median } from './contest.ts'

const { values: options } = parseArgs({
  options: {
    peers: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '.' },
  },
})

interface Conditions {
  readonly roundTripMs: number
  readonly lossPercent: number
  readonly bytes: number
}

const links: readonly Conditions[] = [
  { roundTripMs: 20, lossPercent: 0, bytes: 64 * MiB },
  { roundTripMs: 100, lossPercent: 0, bytes: 64 * MiB },
  { roundTripMs: 300, lossPercent: 0, bytes: 64 * MiB },
  { roundTripMs: 20, lossPercent: 0.5, bytes: 64 * MiB },
  { roundTripMs: 20, lossPercent: 2, bytes: 64 * MiB },
  { roundTripMs: 20, lossPercent: 5, bytes: 16 * MiB },
]

const server = '10.98.0.1'
const client = '10.98.0.2'

/** Two network namespaces that are joined by a link, and the programs that run at its ends. */
class Link implements AsyncDisposable {
  readonly #relay: Running
  readonly #ends: { readonly server: string; readonly client: string }
  readonly #servers: ChildProcess[] = []

  private constructor(relay: Running, server: string, client: string) {
    this.#relay = relay
    this.#ends = { server, client }
  }

  static async open({ roundTripMs, lossPercent }: Conditions, seed: number): Promise<Link> {
    const shape = ['--delay', `${roundTripMs / 2}`, '--loss', `${lossPercent / 100}`, '--seed', `${seed}`]
    const relay = startCommand('python3', [pathOf('spec/support/lossyLink.py'), ...shape, '--server', server], {})
    const [, serverEnd = '', clientEnd = ''] = await relay.printed(/^up (\d+) (\d+)\n/mu)
    return new Link(relay, serverEnd, clientEnd)
  }

  #start(end: 'server' | 'client', command: readonly string[], cwd: string): ChildProcess {
    const args = [`--net=/proc/${this.#relay.child.pid}/fd/${this.#ends[end]}`, ...command]
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
    return spawn('nsenter', args, { cwd, env, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  }

  /** Starts a server, and gives it a second to get ready. */
  async serve(command: readonly string[], cwd: string): Promise<void> {
    this.#servers.push(this.#start('server', command, cwd))
    await pause(1_000)
  }

  /** Starts a server. Resolves with the port that it sends when it is ready. */
  async servePort(command: readonly string[], cwd: string): Promise<number> {
    const child = this.#start('server', command, cwd)
    this.#servers.push(child)
    return await new Promise((resolve) => child.once('message', (port) => resolve(Number(port))))
  }

  /** Runs a client. Resolves with its duration in seconds: the one that it sends by IPC, or else that of its process. */
  async run(command: readonly string[], cwd: string): Promise<number> {
    const began = performance.now()
    const child = this.#start('client', command, cwd)
    let ownMs: number | undefined
    child.once('message', (ms) => {
      ownMs = Number(ms)
    })
    const code = await new Promise((resolve) => child.once('exit', resolve))
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}`)
    return (ownMs ?? performance.now() - began) / 1_000
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#servers) child.kill('SIGTERM')
    this.#relay.child.stdin?.end()
    await this.#relay.ended
  }
}

/** Sends `file` to a server at the other end, which stores it below the current directory. Resolves with the seconds it takes. */
type Contender = (link: Link, cwd: string, file: string) => Promise<number>

const node = (path: string, ...args: readonly string[]) => [process.execPath, pathOf(path), ...args]

const osp =
  (digest: string): Contender =>
  async (link, cwd, file) => {
    const own = ['--host', server, '--port', '6682', '--data', join(cwd, 'data'), '--allow-plaintext', '--quiet']
    await link.serve(node('dist/bin/ospd.js', 'serve', ...own), cwd)
    const to = ['--server', server, '--user', 'bench', '--allow-plaintext', '--quiet', '--state', join(cwd, 'state')]
    return await link.run(node('dist/bin/osp.js', 'send', ...to, '--digest', digest, file), cwd)
  }

const rsync: Contender = async (link, cwd, file) => {
  const user = `uid=${process.getuid?.()}\ngid=${process.getgid?.()}`
  const module = `[copies]\npath=${cwd}/copies\nread only=no\nuse chroot=no\n${user}\n`
  writeFileSync(join(cwd, 'rsyncd.conf'), `address=${server}\npid file=${cwd}/rsyncd.pid\n${module}`)
  await link.serve(['rsync', '--daemon', '--no-detach', '--config=rsyncd.conf'], cwd)
  return await link.run(['rsync', '-aW', '--fsync', file, `rsync://${server}/copies/`], cwd)
}

const scp: Contender = async (link, cwd, file) => {
  for (const name of ['host', 'user']) await startCommand('ssh-keygen', ['-q', '-N', '', '-f', join(cwd, name)]).ended
  const keys = ['-h', join(cwd, 'host'), '-o', `AuthorizedKeysFile=${cwd}/user.pub`, '-o', 'StrictModes=no']
  const more = ['-o', 'PidFile=none', '-o', 'UsePAM=no', '-o', 'Subsystem=sftp internal-sftp']
  await link.serve(['/usr/sbin/sshd', '-D', '-o', `ListenAddress=${server}`, '-f', '/dev/null', ...keys, ...more], cwd)
  const trust = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR']
  return await link.run(['scp', '-q', '-i', join(cwd, 'user'), ...trust, file, `${server}:${cwd}/copies/`], cwd)
}

const tus: Contender = async (link, cwd, file) => {
  const peer = [process.execPath, '--import', 'tsx', pathOf('spec/bench/tusPeer.ts')]
  const packages = options.peers ?? ''
  const root = pathOf('.')
  const port = await link.servePort([...peer, 'serve', packages, join(cwd, 'copies'), server], root)
  return await link.run([...peer, 'send', packages, `${port}`, '1', server, file], root)
}

const contenders: Readonly<Record<string, Contender>> = {
  'osp send': osp('sha256'),
  'osp send --digest xxh128': osp('xxh128'),
  'rsync -aW --fsync': rsync,
  scp,
  ...(options.peers !== undefined && { 'tus, transfer alone': tus }),
}

/** Runs a contender over a new link, and checks that the whole file has arrived. */
async function timed(contender: Contender, conditions: Conditions, seed: number): Promise<number> {
  const cwd = mkdtempSync('/dev/shm/ospd-links-')
  try {
    await using link = await Link.open(conditions, seed)
    mkdirSync(join(cwd, 'copies'))
    const file = join(cwd, 'file.bin')
    writeFileSync(file, randomBytes(conditions.bytes))
    const seconds = await contender(link, cwd, file)
    const sizes = ['copies', 'data/files/bench'].flatMap((name) => sizesIn(join(cwd, name)))
    if (!sizes.includes(conditions.bytes)) throw new Error('the file has not arrived')
    return seconds
  } finally {
    rmSync(cwd, { recursive: true, force: true })
  }
}

function sizesIn(directory: string): readonly number[] {
  if (!existsSync(directory)) return []
  const entries = readdirSync(directory, { withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map(({ name }) => statSync(join(directory, name)).size)
}

for (const conditions of links) {
  const { roundTripMs, lossPercent, bytes } = conditions
  const name = `${bytes / MiB} MiB, ${roundTripMs} ms round trip, ${lossPercent} % loss`
  if (!new RegExp(options.only, 'u').test(name)) continue
  console.log(`\n${name} (${client} to ${server})`)
  const seconds = new Map(Object.keys(contenders).map((each) => [each, [] as number[]]))
  for (let round = 1; round <= Number(options.rounds); round++) {
    for (const [each, contender] of Object.entries(contenders)) {
      const one = await timed(contender, conditions, round).catch((error: Error) =>
        console.error(`${each}: ${error.message}`),
      )
      if (one !== undefined) seconds.get(each)?.push(one)
    }
  }
  for (const [each, all] of seconds) {
    const spread = all.length > 0 ? `${Math.min(...all).toFixed(2)} to ${Math.max(...all).toFixed(2)}` : 'failed'
    console.log(`${each.padEnd(26)} ${median(all).toFixed(2).padStart(7)} s (${spread})`)
  }
}
