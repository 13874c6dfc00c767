// `npm run demo`: uploads real files over a real connection, kills the client and the server midway, and shows that nothing is
// lost and little is sent twice. Then a user who was offline downloads the files, and the sender gets the receipts. Everything
// happens on this machine, in a temporary directory.
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'

const MiB = 1024 * 1024
const sizes = {
  '长城的日落.mp4': 28 * MiB,
  '📷 holidays 2024.zip': 14 * MiB,
  'élan.flac': 6 * MiB,
  '会议记录.txt': 5_000,
}
const total = Object.values(sizes).reduce((sum, size) => sum + size, 0)
const directory = mkdtempSync(join(tmpdir(), 'ospd-demo-'))
const data = join(directory, 'data')
const inbox = join(directory, 'inbox')
/** The paths of the files that bea has downloaded. */
const arrived = new Set()
const running = new Set()

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

const relay = countingRelay()
const files = join(directory, 'files')
const names = Object.keys(sizes)
await makeFiles()
say(`${names.length} files with ${mib(total)} of random bytes were created. They are sent to a server on this machine:`)
let server = await startServer()
let client = startClient()
await unlessEnded(client, relay.passed(total * 0.3))
await kill(client)
// A killed client cannot restore the cursor of the terminal.
if (process.stderr.isTTY) process.stderr.write('\u001B[?25h\u001B[?7h\n')
say(`The client was killed (SIGKILL) after it had sent ${mib(relay.bytes)}. The same command again:`)

client = startClient()
const ended = once(client, 'exit')
await unlessEnded(client, relay.passed(total * 0.6))
await kill(server)
await relay.close()
const before = mib(relay.bytes)
server = await startServer()
await unlessEnded(client, stored())
say(`Meanwhile the server was also killed (SIGKILL), after ${before} had been sent, and restarted.`)
const more = ((100 * (relay.bytes - total)) / total).toFixed(1)
say(`Of ${mib(total)}, ${mib(relay.bytes)} were sent in total: ${more}% more, despite both kills.`)
const isStored = await verify(join(data, 'files/demo'))
await fetched(1)
say(
  'The files were sent to bea, who was offline. Her client was killed (SIGKILL) after the first file. She repeats the command.',
)
await fetched(names.length, ended)
const [code] = await ended
say(`The sender exited with code ${code}, after it received a receipt from bea for each file. Her copies:`)
const isFetched = (await verify(inbox)) && code === 0
console.log(isStored && isFetched ? 'Every stored file is identical to the original.' : 'Error: the files differ.')
process.exitCode = isStored && isFetched ? 0 : 1
server.kill('SIGTERM')
await once(server, 'exit')
await relay.close()

async function makeFiles() {
  await mkdir(files)
  for (const [name, size] of Object.entries(sizes)) {
    const file = await open(join(files, name), 'w')
    for (let left = size; left > 0; left -= MiB) await file.write(randomBytes(Math.min(left, MiB)))
    await file.close()
  }
}

async function startServer() {
  const flags = ['--port', '0', '--data', data, '--json', '--quiet']
  const child = run('ospd.js', ['serve', ...flags], ['ignore', 'pipe', 'inherit'])
  for await (const line of createInterface({ input: child.stdout })) {
    await relay.open(JSON.parse(line).port)
    return child
  }
  throw new Error('the server did not start')
}

function startClient() {
  const flags = ['--server', `127.0.0.1:${relay.port}`, '--user', 'demo', '--limit-rate', '12M']
  return run('osp.js', ['send', ...flags, '--to', 'bea', '--wait', 'handled', ...names], 'inherit')
}

/** Resolves when the server has stored all files. */
async function stored() {
  const isStored = () => names.every((name) => existsSync(join(data, 'files/demo', name)))
  while (!isStored()) await setTimeout(50)
}

/** Downloads the files that were sent to bea. Kills her client when she has `count` files and `over` has resolved. */
async function fetched(count, over) {
  const flags = ['--server', `127.0.0.1:${relay.port}`, '--user', 'bea', '--json']
  const child = run('osp.js', ['listen', ...flags, '--save', inbox], ['ignore', 'pipe', 'inherit'])
  for await (const line of createInterface({ input: child.stdout })) {
    const { event, saved } = JSON.parse(line)
    if (event === 'message' && arrived.add(saved).size >= count) break
  }
  await over
  await kill(child)
}

function run(program, args, stdio) {
  const path = join(import.meta.dirname, '../dist/bin', program)
  // The demo ignores the settings of the user who runs it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^OSPD?_/u.test(name)))
  env.OSP_STATE = join(directory, 'state')
  const child = spawn(process.execPath, [path, ...args], { stdio, env, cwd: files })
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

async function kill(child) {
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

async function unlessEnded(child, event) {
  const early = once(child, 'exit').then(([code]) =>
    Promise.reject(new Error(`the process exited too early, with ${code}`)),
  )
  await Promise.race([event, early])
  early.catch(() => {})
}

/** Relays connections between the clients and the server, and counts the bytes that the clients send. */
function countingRelay() {
  const marks = []
  let listener
  return {
    port: 0,
    bytes: 0,
    /** Resolves when this many bytes have been sent. */
    passed(bytes) {
      return new Promise((resolve) => marks.push({ bytes, resolve }))
    },
    /** Passes connections on to `target`, always from the same port. */
    async open(target) {
      listener = createServer((near) => {
        const far = connect(target, '127.0.0.1')
        near.on('data', (chunk) => {
          this.bytes += chunk.length
          for (const mark of marks) if (this.bytes >= mark.bytes) mark.resolve()
        })
        near.pipe(far).pipe(near)
        for (const [one, other] of [
          [near, far],
          [far, near],
        ])
          one.on('error', () => {}).on('close', () => other.destroy())
      })
      listener.listen(this.port, '127.0.0.1')
      await once(listener, 'listening')
      this.port = listener.address().port
    },
    async close() {
      await new Promise((resolve) => listener.close(resolve))
    },
  }
}

async function verify(folder) {
  let same = true
  for (const name of names) {
    const [sent, stored] = await Promise.all([sha256(join(files, name)), sha256(join(folder, name))])
    console.log(`  ${sent === stored ? 'identical' : 'DIFFERENT BYTES'}: ${name}, SHA-256 ${stored.slice(0, 16)}…`)
    same &&= sent === stored
  }
  return same
}

async function sha256(path) {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

function say(text) {
  console.log(`\n${text}`)
}

function mib(bytes) {
  return `${(bytes / MiB).toFixed(1)} MiB`
}
