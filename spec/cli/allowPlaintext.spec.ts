import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { place } from '../support/commands.ts'
import { type Running, startNode } from '../support/processes.ts'
import { startSource } from '../support/sources.ts'
import { spec } from '../support/spec.ts'

/** An address other than loopback, in a network that contains only this machine. */
const host = '203.0.113.1'
const network = ['unshare', '-rn', 'sh', '-c', `ip link set lo up && ip addr add ${host}/32 dev lo && exec "$0" "$@"`]
const networks = spawnSync(network[0] ?? '', [...network.slice(1), 'true']).status === 0

/** A server in such a network, which clients take for another machine. */
async function faraway(allows = '') {
  const at = await place()
  const server = startSource('spec/support/remoteServer.ts', [host, allows], { under: network })
  const [, port] = await server.printed(/ready on (\d+)/u)
  const within = ['nsenter', '-t', String(server.child.pid), '-U', '-n', '--preserve-credentials']
  const who = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Running =>
    startNode('dist/bin/osp.js', ['who', '--server', `${host}:${port}`, '--state', at.path, ...args], {
      env,
      under: within,
    })
  return {
    async who(...given: Parameters<typeof who>) {
      await using running = who(...given)
      const { code } = await running.ended
      return { code, stderr: running.stderr }
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
}

const env = { OSP_TOKEN: 'osp_marked' }

spec('osp with a token and a server on another machine', (it) => {
  if (!networks) return it.skip('keeps the token', 'there is no unshare(1) to make a network')

  it('does not send it in the clear, says what to do, and exits with 4', async () => {
    await using far = await faraway('allowPlaintext')
    const { code, stderr } = await far.who([], env)
    assert.equal(code, 4)
    assert.match(
      stderr,
      /^osp: gave up on .* not sent to 203\.0\.113\.1: .* use TLS \(--tls\), or .* \(--allow-plaintext\) .*trust\n$/u,
    )
    assert.ok(!stderr.includes('marked'))
  })

  it('sends it with --allow-plaintext if the server accepts it', async () => {
    await using far = await faraway('allowPlaintext')
    assert.deepEqual(await far.who(['--allow-plaintext'], env), { code: 0, stderr: '' })
    assert.equal((await far.who([], { ...env, OSP_ALLOW_PLAINTEXT: 'true' })).code, 0)
  })

  it('reports that the server does not accept it', async () => {
    await using far = await faraway()
    const { code, stderr } = await far.who(['--allow-plaintext'], env)
    assert.equal(code, 4)
    assert.match(stderr, /the server accepts no token over a connection that others can read: use TLS/u)
  })

  it('connects without a token', async () => {
    await using far = await faraway()
    assert.deepEqual(await far.who([]), { code: 0, stderr: '' })
  })
})
