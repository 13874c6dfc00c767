import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { type Daemon, daemon, place, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

const network = '127.0.0.2'

/** A balancer that forwards each connection, from `network`, after it has sent this header. */
async function withBalancer({ port }: Daemon, header: string, use: (server: string) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>()
  const kept = (socket: Socket) => {
    sockets.add(socket)
    return socket.on('error', () => {})
  }
  const balancer: Server = createServer((near) => {
    const far = kept(connect({ host: '127.0.0.1', port, localAddress: network }))
    far.write(header)
    kept(near).pipe(far).pipe(near)
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
  })
  await once(balancer.listen(0, '127.0.0.1'), 'listening')
  const address = balancer.address()
  try {
    await use(`127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`)
  } finally {
    for (const socket of sockets) socket.destroy()
    balancer.close()
  }
}

spec('ospd serve --proxy-protocol', (it) => {
  it('logs the address of the client, and stores what it sends through the balancer', async () => {
    await using at = await place()
    const flags = ['--proxy-protocol', `10.0.0.0/8, ${network}/32`, '--allow-plaintext']
    await using running = await daemon(join(at.path, 'data'), flags)
    await running.printed(
      / warn {2}exposed text="other machines can reach 127\.0\.0\.1 through the load balancers of /u,
    )
    await at.write('a.txt', 'hello')
    await withBalancer(running, 'PROXY TCP4 192.0.2.7 198.51.100.2 56324 6682\r\n', async (server) => {
      const send = ['send', 'a.txt', '--server', server, '--user', 'alice']
      assert.equal((await run('osp', send, { cwd: at.path })).code, 0)
    })
    await running.printed(/ info {2}link-open user=alice node=\d+ from=192\.0\.2\.7$/mu)
    await running.printed(/ info {2}upload-stored user=alice node=\d+ from=192\.0\.2\.7 name=a\.txt /u)
    // A connection from another network has no header.
    assert.equal((await run('osp', ['who', '--server', running.server, '--user', 'bob'])).code, 0)
    await running.printed(/ info {2}link-open user=bob node=\d+ from=127\.0\.0\.1$/mu)
  })

  it('refuses and logs a connection of a balancer without the header', async () => {
    await using at = await place()
    await using running = await daemon(at.path, ['--proxy-protocol', network, '--allow-plaintext'])
    await withBalancer(running, '', async (server) => {
      const { code } = await run('osp', ['who', '--server', server, '--user', 'alice', '--retry-for', '0'])
      assert.equal(code, 3)
    })
    await running.printed(
      / warn {2}link-refused from=127\.0\.0\.2 code=malformed text="the PROXY header is missing or not valid: the conn/u,
    )
  })

  it('is refused if others can reach the daemon through a balancer and there are no users', async () => {
    await using at = await place()
    const { code, stderr } = await run('ospd', ['serve', '--port', '0', '--data', at.path, '--proxy-protocol', network])
    assert.equal(code, 2)
    assert.match(
      stderr,
      /^ospd: other machines can reach 127\.0\.0\.1 through the load balancers of --proxy-protocol, and no/u,
    )
  })

  it('takes networks only', async () => {
    for (const value of ['10.0.0.0/33', '10.0.0.0/8,balancer', '10.0.0.0/8,']) {
      const { code, stderr } = await run('ospd', ['serve', '--proxy-protocol', value])
      assert.equal(code, 2)
      assert.match(stderr, /^ospd: --proxy-protocol cannot be "10[^:]*: it takes networks or addresses with commas /u)
    }
  })
})
