import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { Frame, Transport } from 'ospd'
import { nodePlatform, tcp } from 'ospd/node'
import { closedOnceFlushed } from '../../../bin/common/client.ts'
import { spec } from '../../support/spec.ts'

const last: Frame = { version: 1, flags: 0, event: 69, seq: 0, app: 0, instance: 0, payload: [Buffer.from('goodbye')] }

/** Closes a socket to a server that never closes its side. Resolves with the time this takes and the received bytes. */
async function closing(transportTo: (port: number) => Transport) {
  const accepted: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => accepted.push(socket))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const to = transportTo((server.address() as AddressInfo).port)
  const socket = await to.dial({ platform: nodePlatform(), maxPayload: 1_024 }, new AbortController().signal)
  socket.start({ frame() {}, begun() {}, fault() {}, drained() {}, closed() {} })
  const began = performance.now()
  await socket.close(last)
  const ms = performance.now() - began
  const [peer] = accepted
  assert.ok(peer)
  const parts: Buffer[] = []
  for await (const part of peer) parts.push(part)
  peer.destroy()
  server.close()
  return { ms, bytes: Buffer.concat(parts) }
}

spec('a command whose requests are answered', (it) => {
  it('does not wait for the server to close its side, which receives the last frame', async () => {
    const patient = await closing((port) => tcp({ port }))
    const early = await closing((port) => closedOnceFlushed(tcp({ port })))
    assert.ok(patient.ms > 1_000, `${patient.ms} ms`)
    assert.ok(early.ms < 1_000, `${early.ms} ms`)
    assert.deepEqual(early.bytes, patient.bytes)
    assert.ok(early.bytes.includes('goodbye'))
  })
})
