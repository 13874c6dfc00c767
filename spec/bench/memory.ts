/**
 * `npm run bench:memory`: peak resident memory (VmHWM, Linux only) of the built commands: `osp send` with files of
 * several sizes, and `ospd serve` with 200 concurrent uploads on 40 links.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '../../lib/index.ts'
import { MiB } from '../../lib/limits.ts'
import { tcp } from '../../lib/node.ts'
import { memorySource } from '../support/memorySource.ts'
import { type Running, startNode } from '../support/processes.ts'

const base = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ospd-memory-'))
const data = join(base, 'data')

/** Peak resident memory of a process so far, in MiB; 0 after it has ended. */
function mostResident({ child }: Running): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/u.exec(status)?.[1] ?? 0) / 1024
}

async function daemon(): Promise<{ server: Running; port: number }> {
  rmSync(data, { recursive: true, force: true })
  const args = ['serve', '--port', '0', '--data', data, '--quiet']
  const server = startNode('dist/bin/ospd.js', args)
  const [, port] = await server.printed(/ready on [^:]+:(\d+)/u)
  return { server, port: Number(port) }
}

async function makeSparse(path: string, bytes: number): Promise<void> {
  const handle = await open(path, 'w')
  await handle.truncate(bytes)
  await handle.close()
}

/** Sends sparse files; measures the client continuously, because an ended process cannot be measured. */
async function client(count: number, bytes: number): Promise<void> {
  const { server, port } = await daemon()
  const paths = Array.from({ length: count }, (_, at) => join(base, `${at}.bin`))
  for (const path of paths) await makeSparse(path, bytes)
  const sending = startNode('dist/bin/osp.js', [
    'send',
    '--server',
    `127.0.0.1:${port}`,
    '--state',
    join(base, 'state'),
    '--digest',
    'xxh128',
    ...paths,
  ])
  let most = 0
  const look = setInterval(() => {
    if (sending.child.exitCode === null) most = Math.max(most, mostResident(sending))
  }, 20)
  const { code } = await sending.ended
  clearInterval(look)
  if (code !== 0) throw new Error(sending.stderr)
  console.log(
    `osp send, ${count} x ${bytes / MiB} MiB: ${most.toFixed(0)} MiB; ospd serve: ${mostResident(server).toFixed(0)} MiB`,
  )
  await server.kill('SIGTERM')
}

async function fullServer(links: number, uploadsPerLink: number, bytes: number): Promise<void> {
  const { server, port } = await daemon()
  const content = new Uint8Array(bytes)
  const clients = await Promise.all(
    Array.from({ length: links }, (_, at) => connect(tcp({ port }), { user: `user-${at}` })),
  )
  let atOnce = 0
  const uploads = await Promise.all(
    clients.flatMap((client) =>
      Array.from({ length: uploadsPerLink }, async (_, at) => {
        const upload = await client.upload(memorySource(`${at}`, content), { digest: 'xxh128' })
        upload.on('phase', () => {
          atOnce = Math.max(atOnce, clients.flatMap((other) => [...other.uploads]).filter(isSending).length)
        })
        return upload
      }),
    ),
  )
  await Promise.all(uploads.map(({ done: finished }) => finished))
  const most = mostResident(server)
  console.log(
    `ospd serve, ${uploads.length} x ${bytes / MiB} MiB on ${links} links, ${atOnce} at once: ${most.toFixed(0)} MiB`,
  )
  for (const one of clients) await one.close()
  await server.kill('SIGTERM')
}

const isSending = ({ phase }: { phase: string }) => phase === 'sending' || phase === 'verifying'

try {
  await client(1, MiB)
  await client(1, 1024 * MiB)
  await client(1, 4096 * MiB)
  await client(5, 200 * MiB)
  await fullServer(40, 5, 8 * MiB)
} finally {
  rmSync(base, { recursive: true, force: true })
}
