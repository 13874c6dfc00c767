import assert from 'node:assert/strict'
import { join } from 'node:path'
import { serveControl } from 'ospd/node'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { place, run, start } from '../support/commands.ts'
import { assertPrintable, containsHostileText, hostileText } from '../support/hostileText.ts'
import { MessageClient } from '../support/messageClient.ts'
import { RawClient } from '../support/rawClient.ts'
import type { ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { ctrlC, startOnTerminal, terminals } from '../support/terminal.ts'

const status = {
  ...{
    pid: 1,
    host: hostileText,
    port: 1,
    uptimeMs: 1,
    links: 1,
    online: [hostileText],
    moreOnline: 0,
    moreUploads: 0,
  },
  uploads: [{ user: hostileText, name: hostileText, size: 1, progress: 1, durable: 1 }],
  mailboxes: [{ user: hostileText, messages: 1, bytes: 1 }],
  ...{ moreMailboxes: 0, mailboxMessages: 10, mailboxBytes: 10 },
}

spec('a word that would steer a terminal', (it) => {
  const wrong: readonly (readonly [program: 'osp' | 'ospd', ...args: string[]])[] = [
    ['osp', hostileText],
    ['osp', 'send', `--${hostileText}`],
    ['osp', 'send', hostileText],
    ['osp', 'pause', hostileText],
    ['osp', 'who', '--server', hostileText],
    ['osp', 'who', '--config', 'config'],
    ['ospd', 'serve', '--data', `file/${hostileText}`],
    ['ospd', 'status', '--data', hostileText],
  ]
  it('is not printed raw by a command that was given it', async () => {
    await using at = await place()
    for (const file of ['a', 'file', hostileText]) await at.write(file, 'content')
    await at.write('config', JSON.stringify({ [hostileText]: 1 }))
    const tell = async ([program, ...args]: (typeof wrong)[number]) => {
      const outcome = await run(program, args, { cwd: at.path, env: { OSP_RETRY_FOR: '0' } })
      assert.notEqual(outcome.code, 0, args.join(' '))
      assert.ok(containsHostileText(outcome), `${args.join(' ')}: ${outcome.stderr}`)
      assertPrintable(outcome)
    }
    await Promise.all(wrong.map(tell))
    const outcome = await run('osp', ['who'], { cwd: at.path, env: { OSP_RETRY_FOR: hostileText } })
    assert.ok(containsHostileText(outcome))
    assertPrintable(outcome)
  })

  it('is not printed raw by "ospd status", whatever the daemon says', async () => {
    await using at = await place()
    await using _ = await serveControl(at.path, async (_request, reply) => reply(status))
    for (const more of [[], ['--json']]) {
      const outcome = await run('ospd', ['status', '--data', at.path, ...more])
      assert.equal(outcome.code, 0, outcome.stderr)
      assert.ok(containsHostileText(outcome))
      assertPrintable(outcome)
    }
  })

  for (const where of ['a pipe', 'a terminal'] as const) {
    const fact = `is not printed raw by the log of a daemon on ${where}, whatever clients say`
    if (where === 'a terminal' && !terminals) {
      it.skip(fact, 'there is no script(1) to make a terminal')
      continue
    }
    it(fact, async () => {
      await using at = await place()
      const data = join(at.path, 'data')
      const line = ['serve', '--port', '0', '--data', data]
      await using running = where === 'a pipe' ? start('ospd', line) : startOnTerminal('ospd', line)
      const [, port] = await running.printed(/ready on 127\.0\.0\.1:(\d+)/u)
      const dial = () => RawClient.dial(tcp({ port: Number(port) }))
      const stranger = await dial()
      stranger.hello({ user: hostileText })
      await stranger.refused('HelloNack', 'bad-name')
      const rig = { dial } as ServerRig
      const bob = await MessageClient.listen(rig, 'bob')
      const alice = await MessageClient.listen(rig, 'alice')
      await alice.post(1, ['bob'], hostileText)
      await bob.reject(await bob.delivery(), hostileText)
      await running.printed(/message-set-aside/u)
      alice.raw.send('GoodbyeNtf', { code: 6, retryAfter: 0, text: hostileText })
      await running.printed(/link-closed/u)
      assert.ok(containsHostileText(running))
      assertPrintable(running, where === 'a terminal')
      if (where === 'a pipe') return
      // A daemon outlives a terminal that hangs up.
      running.child.stdin?.write(ctrlC)
      assert.equal((await running.ended).code, 0)
    })
  }
})
