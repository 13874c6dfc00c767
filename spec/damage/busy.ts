/**
 * A program whose system calls are recorded: `busy.ts DIRECTORY`. It creates users, starts `ospd serve` in
 * DIRECTORY/data, sends files and messages, and records each acknowledgement in its trace. The daemon is stopped and
 * restarted halfway.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createClient, OspError } from '../../lib/index.ts'
import { type SeenServer, tls } from '../../lib/node.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { note } from './acknowledged.ts'
import type { Item } from './holdings.ts'

const [directory = '', ospd = ''] = process.argv.slice(2)
const data = join(directory, 'data')
const flags = ['--chunk', '4K', '--window', '16K', '--checkpoint-size', '8K', '--small-file', '1', '--tls', 'auto']
const users = ['alice', 'bob']
const tokens = new Map<string, string>()

for (const user of users) {
  const { stdout } = spawnSync(process.execPath, [ospd, 'user', 'add', user, '--data', data], { encoding: 'utf8' })
  const token = stdout.trim()
  tokens.set(user, token)
  note({ kind: 'user', user, token })
}
for (const round of [1, 2]) await serveOnce(round)

async function serveOnce(round: number): Promise<void> {
  const server = spawn(process.execPath, [ospd, 'serve', '--port', '0', '--data', data, ...flags])
  let told = ''
  server.stderr.resume()
  server.stdout.setEncoding('utf8').on('data', (text: string) => {
    told += text
  })
  while (!/data in/u.test(told)) await once(server.stdout, 'data')
  const [, port] = /ready on 127\.0\.0\.1:(\d+)/u.exec(told) ?? []
  const clients = users.map((user) => clientOf(user, Number(port)))
  const [alice, bob] = clients
  if (!alice || !bob) throw new Error('there are two users')
  bob.receive((message) => note({ kind: 'taken', text: message.text(), to: ['bob'] }))
  await Promise.all(
    clients.flatMap((client, at) => {
      const user = users[at] ?? ''
      const sends = [1, 2, 3].map((n) =>
        send(client, { user, name: `${n}/file-${round}`, bytes: n * 15_000, seed: round * 100 + at * 10 + n }),
      )
      return [...sends, talk(client, user, round)]
    }),
  )
  const ended = once(server, 'exit')
  server.kill('SIGTERM')
  await ended
  await Promise.all(clients.map((client) => client.close()))
}

function clientOf(user: string, port: number) {
  const trust = ({ fingerprint }: SeenServer) => {
    if (fingerprint === '') throw new OspError('unauthorized', 'it has no key')
    note({ kind: 'identity', fingerprint })
  }
  return createClient(tls({ port, trust }), { user, token: async () => tokens.get(user) ?? '' })
}

async function send(client: ReturnType<typeof createClient>, item: Item): Promise<void> {
  note({ kind: 'begun', item })
  const upload = await client.upload(memorySource(item.name, patterned(item.bytes, item.seed)))
  upload.on('progress', ({ durable }) => {
    if (durable > 0) note({ kind: 'durable', item, bytes: durable })
  })
  await upload.done
  note({ kind: 'stored', item })
}

async function talk(client: ReturnType<typeof createClient>, user: string, round: number): Promise<void> {
  for (let n = 1; n <= 6; n++) {
    const text = `${user} says ${round}.${n}`
    note({ kind: 'saying', text, to: users })
    await client.send(users, text)
    note({ kind: 'said', text, to: users })
  }
}
