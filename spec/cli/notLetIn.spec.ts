import assert from 'node:assert/strict'
import { commandEvents } from '../../bin/common/events.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'
import { type TokenServer, tokenServer } from '../support/tokenServer.ts'

/** Resolves with the advice of osp for alice on this server. */
const advice = ({ flags: [, server, , state] }: TokenServer) =>
  `osp: no token was sent; if you have a token for this server, run osp login --server ${server} --user alice --state ${state}\n`

spec('a command for a server that requires a token', (it) => {
  const commands: readonly (readonly string[])[] = [['msg', 'bob', 'hi'], ['listen'], ['who'], ['who', '--watch']]
  for (const args of commands) {
    it(`exits with 4 and says how to log in: osp ${args.join(' ')}`, async () => {
      await using at = await tokenServer()
      const { code, stdout, stderr } = await at.osp(args)
      assert.deepEqual([code, stdout], [4, ''])
      assert.ok(
        stderr.startsWith(`osp: gave up on ${at.its.address}: this server wants a token\n${advice(at)}`),
        stderr,
      )
    })
  }

  it('says so with --quiet too, and with --json, where stdout has the reason', async () => {
    await using at = await tokenServer()
    assert.ok((await at.osp(['who', '--quiet'])).stderr.includes(advice(at)))
    const { code, stdout, stderr } = await at.osp(['listen', '--json'])
    assert.deepEqual([code, stderr], [4, advice(at)])
    const [failed] = published(stdout, commandEvents.listen)
    assert.deepEqual(
      [failed?.event, failed?.code, failed?.text],
      ['failed', 'unauthorized', 'this server wants a token'],
    )
  })

  it('keeps the files of osp send for the next one', async () => {
    await using at = await tokenServer()
    await at.at.write('a.txt', 'content')
    const cwd = at.at.path
    const { code, stdout, stderr } = await at.osp(['send', 'a.txt'], { cwd })
    assert.deepEqual([code, stdout], [4, ''])
    assert.ok(stderr.includes(`this server wants a token\n${advice(at)}`), stderr)
    assert.match(stderr, /^osp: 1 file not sent; run "osp send" to send it when the server accepts your login$/mu)
    const { stdout: list } = await at.osp(['tasks', '--why'])
    assert.match(list, /^1 +waiting .*a\.txt\n +the server rejected osp send: this server wants a token$/mu)
    const [failed, summary] = published((await at.osp(['send', '--json'])).stdout, commandEvents.send)
    assert.deepEqual(
      [failed?.code, failed?.retry, summary?.failed, summary?.unfinished],
      ['unauthorized', 'later', 0, 1],
    )
    await at.osp(['login'], { input: 'osp_alices' })
    const sent = await at.osp(['send'])
    assert.deepEqual([sent.code, /^[\da-f]{64} {2}.*a\.txt$/mu.test(sent.stdout)], [0, true], sent.stderr)
  })

  it('is reported by osp cancel, which records the cancellation', async () => {
    await using at = await tokenServer()
    await at.at.write('a.txt', 'content')
    await at.osp(['send', 'a.txt'], { cwd: at.at.path })
    const { code, stdout, stderr } = await at.osp(['cancel', '1'])
    assert.equal(code, 4)
    assert.match(stdout, /^1 +cancelling/u)
    assert.ok(stderr.includes(`this server wants a token\n${advice(at)}`), stderr)
    await at.osp(['login'], { input: 'osp_alices' })
    assert.equal((await at.osp(['cancel', '1'])).code, 0)
    assert.equal((await at.osp(['tasks'])).stdout, '')
  })

  it('says which token was rejected', async () => {
    await using at = await tokenServer()
    await at.osp(['login'], { input: 'osp_alices' })
    at.tokens.set('alice', 'osp_next')
    const kept = await at.osp(['who'])
    assert.match(
      kept.stderr,
      /not the token of alice\nosp: the stored token was sent; to store another one, run osp login /u,
    )
    const variable = await at.osp(['who'], { env: { OSP_TOKEN: 'osp_other' } })
    assert.match(variable.stderr, /not the token of alice\nosp: the token came from OSP_TOKEN\n$/u)
    await at.at.write('t', 'osp_file')
    const file = await at.osp(['who', '--token-file', `${at.at.path}/t`])
    assert.match(file.stderr, /not the token of alice\nosp: the token came from \S+\/t\n$/u)
    assert.deepEqual([kept.code, variable.code, file.code], [4, 4, 4])
  })
})
