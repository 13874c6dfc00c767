import assert from 'node:assert/strict'
import { type Socket as ByteStream, connect, createServer } from 'node:net'
import { dialTcp, type Network } from '../../../lib/adapters/net/dialTcp.ts'
import { clientLimits } from '../../../lib/limits.ts'
import { FakeStream } from '../../support/fakeStream.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const { attemptDelayMs, dialledAddresses } = clientLimits

/** A network in which each attempt waits for the spec to decide it. */
class FakeNetwork implements Network {
  readonly attempts: { readonly address: string; readonly stream: FakeStream }[] = []
  readonly #addresses: readonly string[]

  constructor(addresses: readonly string[]) {
    this.#addresses = addresses
  }

  async lookup(): Promise<readonly string[]> {
    return this.#addresses
  }

  connect(address: string): ByteStream {
    const stream = Object.assign(new FakeStream(), { connecting: true })
    this.attempts.push({ address, stream })
    return stream as unknown as ByteStream
  }

  get tried(): readonly string[] {
    return this.attempts.map(({ address }) => address)
  }

  get alive(): readonly string[] {
    return this.attempts.filter(({ stream }) => !stream.destroyed).map(({ address }) => address)
  }

  stream(address: string): FakeStream {
    const attempt = this.attempts.find((other) => other.address === address)
    assert.ok(attempt, `${address} was not tried`)
    return attempt.stream
  }

  connected(address: string): void {
    Object.assign(this.stream(address), { connecting: false }).emit('connect')
  }

  async fails(address: string, code: string): Promise<void> {
    this.stream(address).destroy(Object.assign(new Error(code), { code }))
    await turn()
  }
}

function dialling(addresses: readonly string[], host = 'example.org') {
  const network = new FakeNetwork(addresses)
  const clock = new VirtualClock()
  const ending = new AbortController()
  const dialled = dialTcp({ host, port: 6682, clock, signal: ending.signal }, (stream) => stream, network)
  dialled.catch(() => {})
  return { network, clock, ending, dialled }
}

spec('dialling a host with several addresses', (it) => {
  it('starts the next attempt after a delay without ending earlier ones, and uses the first that connects', async () => {
    const { network, clock, dialled } = dialling(['192.0.2.1', '192.0.2.2', '192.0.2.3'])
    await turn()
    assert.deepEqual(network.tried, ['192.0.2.1'])
    clock.pass(attemptDelayMs)
    clock.pass(attemptDelayMs)
    // The round trip takes longer than the delay between two attempts.
    assert.deepEqual(network.alive, ['192.0.2.1', '192.0.2.2', '192.0.2.3'])
    network.connected('192.0.2.2')
    assert.equal(await dialled, network.stream('192.0.2.2'))
    assert.deepEqual(network.alive, ['192.0.2.2'])
    assert.deepEqual(clock.set, [])
  })

  it('lets an attempt run until the caller aborts', async () => {
    const { network, clock, dialled } = dialling(['192.0.2.1', '192.0.2.2'])
    await turn()
    clock.pass(600_000)
    network.connected('192.0.2.1')
    assert.equal(await dialled, network.stream('192.0.2.1'))
  })

  it('starts the next attempt at once when one fails', async () => {
    const { network, dialled } = dialling(['192.0.2.1', '192.0.2.2'])
    await turn()
    await network.fails('192.0.2.1', 'EHOSTUNREACH')
    network.connected('192.0.2.2')
    assert.equal(await dialled, network.stream('192.0.2.2'))
  })

  it('tries both families in turn, each address once, and a bounded number of them', async () => {
    const many = Array.from({ length: 20 }, (_, at) => `192.0.2.${at + 1}`)
    const { network, clock } = dialling(['2001:db8::1', '2001:db8::1', '2001:db8::2', ...many])
    await turn()
    clock.pass(600_000)
    assert.deepEqual(network.tried.slice(0, 5), ['2001:db8::1', '192.0.2.1', '2001:db8::2', '192.0.2.2', '192.0.2.3'])
    assert.equal(network.tried.length, dialledAddresses)
  })

  it('names every address that it tried if all attempts fail', async () => {
    const { network, dialled } = dialling(['192.0.2.1', '192.0.2.2'])
    await turn()
    await network.fails('192.0.2.1', 'ETIMEDOUT')
    await network.fails('192.0.2.2', 'ECONNREFUSED')
    await assert.rejects(dialled, {
      code: 'unreachable',
      message:
        'cannot connect to example.org:6682: 192.0.2.1: the machine does not answer; check its address and any firewall in ' +
        'between (ETIMEDOUT); 192.0.2.2: nothing listens there; start the server or check the port (ECONNREFUSED)',
    })
  })

  it('states a common reason once', async () => {
    const { network, dialled } = dialling(['192.0.2.1', '192.0.2.2'])
    await turn()
    await network.fails('192.0.2.1', 'ECONNREFUSED')
    await network.fails('192.0.2.2', 'ECONNREFUSED')
    await assert.rejects(dialled, {
      message:
        'cannot connect to example.org:6682: nothing listens there; start the server or check the port ' +
        '(ECONNREFUSED); tried 192.0.2.1, 192.0.2.2',
    })
  })

  it('ends all attempts when it is aborted, and names them', async () => {
    const { network, clock, ending, dialled } = dialling(['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'])
    await turn()
    clock.pass(attemptDelayMs)
    await network.fails('192.0.2.2', 'ECONNREFUSED')
    ending.abort()
    await assert.rejects(dialled, {
      code: 'closed',
      message:
        'connecting to example.org:6682 was aborted (192.0.2.1: no answer; 192.0.2.2: nothing listens there; ' +
        'start the server or check the port (ECONNREFUSED); 192.0.2.3: no answer)',
    })
    assert.deepEqual(network.alive, [])
    clock.pass(600_000)
    assert.equal(network.tried.length, 3)
  })

  it('can be aborted during the lookup of the name', async () => {
    const ending = new AbortController()
    const network = { lookup: () => new Promise<never>(() => {}), connect: () => assert.fail('it dials') }
    const options = { host: 'example.org', port: 6682, clock: new VirtualClock(), signal: ending.signal }
    const dialled = dialTcp(options, () => {}, network)
    ending.abort()
    await assert.rejects(dialled, { code: 'closed' })
  })

  it('reaches the address where a server listens', async () => {
    const server = createServer((stream) => stream.end()).listen(0, '127.0.0.3')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    const network: Network = {
      lookup: async () => ['127.0.0.2', '127.0.0.3'],
      connect: (host, at) => connect({ host, port: at }),
    }
    const options = { host: 'example.org', port, clock: new VirtualClock(), signal: new AbortController().signal }
    const stream = await dialTcp(options, (connected) => connected, network)
    assert.equal(stream.remoteAddress, '127.0.0.3')
    stream.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
})

spec('a lookup', (it) => {
  it('that fails makes the server unreachable', async () => {
    const failing = async () => {
      throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' })
    }
    const options = { host: 'x', port: 1, clock: new VirtualClock(), signal: new AbortController().signal }
    await assert.rejects(
      dialTcp(options, () => {}, { lookup: failing, connect: () => assert.fail('it dials') }),
      {
        code: 'unreachable',
        message: 'cannot connect to x:1: the host name is unknown; check the name (ENOTFOUND)',
      },
    )
  })
})
