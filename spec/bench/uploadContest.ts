import { type ChildProcess, fork, spawn } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { KiB, MiB } from '../../lib/limits.ts'
import { commandEnvironment, type Running, startNode } from '../support/processes.ts'
import { type Contender, cpuOfChildren, cpuSeconds, type Result } from './contest.ts'

export interface Load {
  readonly name: string
  readonly count: number
  readonly bytes: number
  /** How many separate senders share the files where a peer has one process for each file. */
  readonly atOnce: number
  /** `files`: the result is in files a second, not MiB. */
  readonly unit: 'MiB/s' | 'files/s'
}

export const loads = {
  one: { name: '1 x 1 GiB', count: 1, bytes: 1024 * MiB, atOnce: 1, unit: 'MiB/s' },
  five: { name: '5 x 200 MiB', count: 5, bytes: 200 * MiB, atOnce: 5, unit: 'MiB/s' },
  small: { name: '200 x 1 MiB', count: 200, bytes: MiB, atOnce: 1, unit: 'MiB/s' },
  tiny: { name: '10,000 x 1 KiB', count: 10_000, bytes: KiB, atOnce: 1, unit: 'files/s' },
} as const satisfies Record<string, Load>

interface RunOptions {
  /** Begins each run, and is not measured. By default it removes all files. */
  readonly begin?: () => Promise<void>
  /** The directories in which the bytes of the load are afterwards. */
  readonly places?: () => readonly string[]
}

/** The directories of a contest, and the servers that run until its end. */
export class UploadField implements AsyncDisposable {
  readonly #base: string
  readonly #packages: string | undefined
  readonly #started: (Running | ChildProcess)[] = []
  #run = 0

  /** `base`: an empty directory; `packages`: where the npm packages of the peers are installed. */
  constructor(base: string, packages: string | undefined) {
    this.#base = base
    this.#packages = packages
    for (const name of ['sources', 'copies', 'state']) mkdirSync(join(base, name), { recursive: true })
  }

  /** Writes the files of a load and returns their paths. */
  make({ count, bytes }: Load): string[] {
    rmSync(this.#sources, { recursive: true, force: true })
    mkdirSync(this.#sources)
    const block = randomFillSync(new Uint8Array(Math.min(bytes, 16 * MiB)))
    return Array.from({ length: count }, (_, at) => {
      const path = join(this.#sources, `${at}.bin`)
      for (let written = 0; written < bytes; written += block.length) {
        appendFileSync(path, block.subarray(0, Math.min(block.length, bytes - written)))
      }
      return path
    })
  }

  get #sources(): string {
    return join(this.#base, 'sources')
  }

  get #copies(): string {
    return join(this.#base, 'copies')
  }

  /** A plain pipe (spec/bench/pipe.ts); the transfer alone. */
  async pipe(name: string, work: string, load: Load, paths: readonly string[]): Promise<Contender> {
    const { child, value: port } = await this.#program('pipe.ts', ['receive', work, this.#copies])
    return this.#contender(name, load, child.pid, () =>
      this.#timed('pipe.ts', ['send', work, `${port}`, `${load.atOnce}`, ...paths]),
    )
  }

  /** The plain program for small files (spec/bench/plainFiles.ts), from its start to its end. */
  async plainFiles(name: string, load: Load): Promise<Contender> {
    const { child, value: port } = await this.#program('plainFiles.ts', ['receive', this.#copies])
    const program = await this.#bundled('plainFiles.ts')
    return this.#contender(name, load, child.pid, () =>
      timedCommands([[process.execPath, program, 'send', `${port}`, this.#sources]]),
    )
  }

  /** rsync to its daemon, one process for each of the concurrent senders. */
  async rsync(load: Load, paths: readonly string[], flags: readonly string[]): Promise<Contender> {
    const port = 28_873 + this.#started.length
    const config = join(this.#base, `rsyncd-${port}.conf`)
    const module = `path=${this.#copies}\nread only=no\nuse chroot=no\nuid=${process.getuid?.()}\ngid=${process.getgid?.()}`
    writeFileSync(config, `port=${port}\naddress=127.0.0.1\npid file=${config}.pid\n[copies]\n${module}\n`)
    // If its standard input is a socket, rsync serves that and does not listen.
    const daemon = spawn('rsync', ['--daemon', '--no-detach', `--config=${config}`], { stdio: 'ignore' })
    this.#started.push(daemon)
    await reachable(port)
    const target = `rsync://127.0.0.1:${port}/copies/`
    const [own, name] = [flags.filter((flag) => flag.startsWith('-')), ['rsync', ...flags].join(' ')]
    const commands =
      load.atOnce > 1 ? paths.map((path) => [...own, path, target]) : [[...own, ...this.#wholeOf(load, paths), target]]
    return this.#contender(name, load, daemon.pid, () => timedCommands(commands.map((args) => ['rsync', ...args])))
  }

  async tus(load: Load, paths: readonly string[], atOnce: number): Promise<Contender> {
    const { child, value: port } = await this.#program('tusPeer.ts', [
      'serve',
      this.#packages ?? '',
      this.#copies,
      '127.0.0.1',
    ])
    return this.#contender(`tus, ${atOnce} at once`, load, child.pid, () =>
      this.#timed('tusPeer.ts', ['send', this.#packages ?? '', `${port}`, `${atOnce}`, '127.0.0.1', ...paths]),
    )
  }

  /** Starts the daemon that all contenders of ospd share, so that it has served before. */
  async ospd(secure = false, flags: readonly string[] = []): Promise<OspdServer> {
    const data = join(this.#base, secure ? 'data-tls' : 'data')
    const args = ['serve', '--port', '0', '--data', data, '--quiet', ...(secure ? ['--tls', 'auto'] : []), ...flags]
    const server = this.#keep(startNode('dist/bin/ospd.js', args, { env: { OSP_STATE: join(this.#base, 'state') } }))
    const [, port] = await server.printed(/ready on [^:]+:(\d+)/u)
    const [fingerprint] = secure ? await server.printed(/SHA256:[^\s,]+/u) : []
    return { pid: server.child.pid, port: Number(port), fingerprint }
  }

  /** `osp send`: the whole command, its start included. */
  send(name: string, load: Load, paths: readonly string[], server: OspdServer, flags: readonly string[]): Contender {
    const command = join(import.meta.dirname, '../../dist/bin/osp.js')
    return this.#contender(name, load, server.pid, () => {
      const to = ['--server', `127.0.0.1:${server.port}`, '--user', `run${++this.#run}`]
      if (server.fingerprint) to.push('--tls', '--fingerprint', server.fingerprint)
      const own = ['--state', join(this.#base, 'state', `${this.#run}`), '--quiet', ...flags]
      return timedCommands([[process.execPath, command, 'send', ...to, ...own, ...this.#wholeOf(load, paths)]])
    })
  }

  /** `osp get` of files that `sent` has uploaded before: the whole command, its start included. */
  get(name: string, load: Load, paths: readonly string[], server: OspdServer, sent: Contender): Contender {
    const command = join(import.meta.dirname, '../../dist/bin/osp.js')
    const files = paths.map((path) => basename(path))
    const get = () => {
      const from = [
        '--server',
        `127.0.0.1:${server.port}`,
        '--user',
        `run${this.#run}`,
        '--quiet',
        '--to',
        this.#copies,
      ]
      return timedCommands([[process.execPath, command, 'get', ...from, ...files]])
    }
    const begin = async () => {
      await sent.run()
      this.#warm()
    }
    return this.#contender(name, load, server.pid, get, { begin, places: () => [this.#copies] })
  }

  /** The SDK in a process that runs already: the transfer alone. */
  transfer(name: string, load: Load, paths: readonly string[], server: OspdServer, digest: string): Contender {
    return this.#contender(name, load, server.pid, () =>
      this.#timed('transfer.ts', [`${server.port}`, `run${++this.#run}`, digest, ...paths]),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#started) {
      if ('child' in server) await server.kill('SIGTERM')
      else if (server.connected) server.disconnect()
      else server.kill()
    }
    rmSync(this.#base, { recursive: true, force: true })
  }

  /** Many files are named by their folder. */
  #wholeOf({ count }: Load, paths: readonly string[]): readonly string[] {
    return count > 5 ? ['-r', `${this.#sources}/`] : paths
  }

  #contender(
    name: string,
    load: Load,
    pid = 0,
    work: () => Promise<{ ms: number; cpuS: number }>,
    { begin, places }: RunOptions = {},
  ): Contender {
    return {
      name,
      run: async (): Promise<Result> => {
        await (begin ?? (() => this.#prepare()))()
        const before = cpuSeconds(pid)
        const { ms, cpuS: clientCpuS } = await work()
        await pause(50)
        const serverCpuS = cpuSeconds(pid) - before
        this.#check(load, places?.() ?? [this.#copies, ...this.#ospdFiles()])
        const amount = load.unit === 'files/s' ? load.count : (load.count * load.bytes) / MiB
        return { value: amount / (ms / 1_000), clientCpuS, serverCpuS }
      },
    }
  }

  /** Removes the copies of the run before. */
  #prepare(): void {
    for (const directory of [this.#copies, ...this.#ospdFiles()]) {
      for (const entry of readdirSync(directory)) rmSync(join(directory, entry), { recursive: true })
    }
    this.#warm()
  }

  /** Touches as much memory as a run needs: untouched memory is slow to get in a VM. */
  #warm(): void {
    const warm = join(this.#base, 'warm')
    const block = new Uint8Array(16 * MiB)
    for (let written = 0; written < 1_200 * MiB; written += block.length) appendFileSync(warm, block)
    rmSync(warm)
  }

  #ospdFiles(): string[] {
    return ['data', 'data-tls'].map((name) => join(this.#base, name, 'files')).filter((path) => existsSync(path))
  }

  /** Throws if the bytes of the load are not all there. */
  #check({ count, bytes }: Load, places: readonly string[]): void {
    const stored = places.reduce((total, directory) => total + bytesIn(directory), 0)
    if (stored < count * bytes) throw new Error(`${stored} of ${count * bytes} bytes were stored`)
  }

  #keep(server: Running): Running {
    this.#started.push(server)
    return server
  }

  /**
   * Resolves with the path of a program of this folder, bundled as a user's program is: from sources it would compile them while it
   * is measured.
   */
  async #bundled(name: string): Promise<string> {
    const program = join(this.#base, name.replace(/ts$/u, 'mjs'))
    if (existsSync(program)) return program
    const source = join(import.meta.dirname, name)
    await build({
      entryPoints: [source],
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      external: ['classic-level'],
      // Optional packages are found as from the source.
      define: { 'import.meta.url': JSON.stringify(pathToFileURL(source)) },
    })
    return program
  }

  async #program(name: string, args: readonly string[]): Promise<{ child: ChildProcess; value: number }> {
    const child = fork(await this.#bundled(name), args, { execArgv: [] })
    this.#started.push(child)
    return { child, value: await firstMessage(child) }
  }

  /** Runs a client that measures its transfer itself. Its CPU seconds include the start of the process. */
  async #timed(name: string, args: readonly string[]): Promise<{ ms: number; cpuS: number }> {
    const program = await this.#bundled(name)
    const before = cpuOfChildren()
    const child = fork(program, args, { execArgv: [] })
    const gone = new Promise((resolve) => child.once('exit', resolve))
    const ms = await firstMessage(child)
    await gone
    return { ms, cpuS: cpuOfChildren() - before }
  }
}

export interface OspdServer {
  readonly pid: number | undefined
  readonly port: number
  /** Of its key, if it has TLS. */
  readonly fingerprint: string | undefined
}

/**
 * Runs commands at the same time, from their start to the end of the last one. Their results are not read, which would take processor
 * time from them.
 */
async function timedCommands(commands: readonly (readonly string[])[]): Promise<{ ms: number; cpuS: number }> {
  const before = cpuOfChildren()
  const began = performance.now()
  await Promise.all(
    commands.map(async ([command = '', ...args]) => {
      const child = spawn(command, args, { env: commandEnvironment(), stdio: ['ignore', 'ignore', 'pipe'] })
      let errors = ''
      child.stderr.on('data', (text: Buffer) => {
        errors += text
      })
      const [code] = await once(child, 'close')
      if (code !== 0) throw new Error(`${command} exited with ${code}: ${errors}`)
    }),
  )
  return { ms: performance.now() - began, cpuS: cpuOfChildren() - before }
}

function firstMessage(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('message', (value) => resolve(Number(value)))
    child.once('exit', (code) => reject(new Error(`the program exited with ${code}`)))
  })
}

function bytesIn(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).reduce(
    (total, entry) => (entry.isFile() ? total + statSync(join(entry.parentPath, entry.name)).size : total),
    0,
  )
}

/** Resolves when a server listens on a port of this machine. */
export async function reachable(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (open) return
    await pause(25)
  }
  throw new Error(`nothing listens on port ${port}`)
}
