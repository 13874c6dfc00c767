import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { type Client, connect } from '../../lib/index.ts'
import { tcp } from '../../lib/node.ts'
import { daemon, place, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

const canLimit = spawnSync('prlimit', ['--nofile=256', 'true']).status === 0
const limited = (descriptors: number) => ({ under: ['prlimit', `--nofile=${descriptors}`] })

spec('a program with few file descriptors', (it) => {
  if (!canLimit) return it.skip('says so', 'this system has no prlimit')

  for (const [program, line] of [
    ['ospd', ['serve', '--port', '0']],
    ['ospd', ['status']],
    ['osp', ['who', '--server', '127.0.0.1:1']],
  ] as const) {
    it(`states its requirement and exits with 1, without a stack trace: ${program} ${line[0]}`, async () => {
      for (const descriptors of [40, 110]) {
        const { code, stdout, stderr } = await run(program, line, limited(descriptors))
        const text = `${program}: this process can open ${descriptors} files and needs at least 128; raise the limit (ulimit -n 1024)\n`
        assert.deepEqual([code, stdout, stderr], [1, '', text])
      }
    })
  }
})

spec('ospd serve', (it) => {
  if (!canLimit) return it.skip('takes as many links as it may', 'this system has no prlimit')

  it('accepts only as many links as its file descriptors permit, and reports the reason to the rejected ones', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'), [], limited(128))
    assert.match(server.stderr, /few-descriptors descriptors=128 links=32 uploads=16/u)
    const to = tcp({ port: server.port })
    const clients: Client[] = []
    // One after another: with so few descriptors only four links wait for their HELLO.
    for (let at = 0; at < 32; at++) clients.push(await connect(to, { user: `user${at}` }))
    await assert.rejects(connect(to, { user: 'beyond' }), { code: 'rate-limited' })
    for (const client of clients) await client.close()
  })

  it('logs once when no file descriptor is left, and once when some are available again', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    const limit = (soft: number) => spawnSync('prlimit', ['--pid', `${server.child.pid}`, `--nofile=${soft}:`])
    limit(10)
    await server.printed(/descriptors-used-up/u)
    limit(4_096)
    await server.printed(/descriptors-free/u)
    assert.equal(server.stderr.match(/descriptors-/gu)?.length, 2, server.stderr)
  })
})
