import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { ListenOptions, Server } from 'node:net'
import { ByteListener } from '../../../lib/adapters/net/byteListener.ts'
import { defaultLimits } from '../../../lib/limits.ts'
import { spec } from '../../support/spec.ts'

/** A server that only records where it listens. */
class RecordingServer extends EventEmitter {
  readonly listens: ListenOptions[] = []

  listen(where: ListenOptions): this {
    this.listens.push(where)
    setImmediate(() => this.emit('listening'))
    return this
  }

  address() {
    return { address: '127.0.0.1', port: 1 }
  }
}

spec('a listener', (it) => {
  it('leaves as many connections to the system as it is told', async () => {
    const server = new RecordingServer()
    const where = { host: '127.0.0.1', port: 0, backlog: defaultLimits.backlog }
    await new ByteListener(server as unknown as Server).open(where)
    assert.deepEqual(server.listens, [where])
  })
})
