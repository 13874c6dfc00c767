/**
 * The receiving side of a benchmark, in its own process: `receiver.ts pipe|ospd|tls DIRECTORY`; sends its port by IPC.
 */
import { createWriteStream } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { serve } from '../../lib/index.ts'
import { MiB } from '../../lib/limits.ts'
import { disk, ownIdentity, tcp, tls } from '../../lib/node.ts'

const [kind, directory = ''] = process.argv.slice(2)

async function ospd(): Promise<number> {
  const listen = kind === 'tls' ? tls({ port: 0, ...(await ownIdentity(`${directory}-tls`)) }) : tcp({ port: 0 })
  const server = await serve({ listen, storage: disk(directory) })
  return server.addresses[0]?.port ?? 0
}

/** The throughput of Node's streams with buffers of the same size: no digest, no flush, no protocol. */
async function pipe(): Promise<number> {
  let files = 0
  const server = createServer({ highWaterMark: MiB, allowHalfOpen: true }, (socket) => {
    const target = createWriteStream(join(directory, `${files++}`), { highWaterMark: MiB })
    socket.pipe(target).on('close', () => socket.end('stored'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

process.send?.(await (kind === 'pipe' ? pipe() : ospd()))
process.on('disconnect', () => process.exit())
