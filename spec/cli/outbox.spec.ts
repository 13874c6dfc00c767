import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { connect } from 'ospd'
import { tcp } from 'ospd/node'
import { commandEvents } from '../../bin/common/events.ts'
import { place, run, start } from '../support/commands.ts'
import { freePort } from '../support/freePort.ts'
import { published } from '../support/published.ts'
import { served } from '../support/served.ts'
import { spec } from '../support/spec.ts'

/** The commands of one user, and a server that does not run at first. */
async function bench(options: Parameters<typeof served>[0] = {}) {
  const at = await place()
  const port = await freePort()
  const flags = ['--server', `127.0.0.1:${port}`, '--state', at.path, '--user', 'alice']
  const osp = ([command = '', ...args]: readonly string[]) => run('osp', [command, ...flags, ...args], { cwd: at.path })
  return {
    at,
    port,
    osp,
    begin: ([command = '', ...args]: readonly string[]) => start('osp', [command, ...flags, ...args], { cwd: at.path }),
    /** Queues texts for bob. */
    async queue(...texts: readonly string[]) {
      for (const text of texts)
        assert.equal((await osp(['msg', '--queue', '--quiet', 'bob', text])).stdout, 'bob queued\n')
    },
    serve: () => served({ port, ...options }),
    /** Resolves with the texts of the next messages of bob. */
    async received(count: number): Promise<readonly string[]> {
      const client = await connect(tcp({ port }), { user: 'bob' })
      const texts: string[] = []
      for await (const message of client.messages()) {
        texts.push(message.text())
        await message.ack()
        if (texts.length === count) break
      }
      await client.close()
      return texts
    },
    /** Resolves with the texts of the messages in the outbox, as their sizes without the first byte. */
    async waiting(): Promise<readonly number[]> {
      const { stdout } = await osp(['outbox', '--json'])
      return published(stdout, commandEvents.outbox).map(({ bytes }) => Number(bytes) - 1)
    },
    [Symbol.asyncDispose]: () => at[Symbol.asyncDispose](),
  }
}

const advice = 'the operator of the server adds users with "ospd user add"'

spec('osp msg --queue', (it) => {
  it('leaves the message in the outbox if there is no server, and exits with 0', async () => {
    await using here = await bench()
    const queued = await here.osp(['msg', '--queue', 'bob', 'carol', 'hi'])
    assert.deepEqual([queued.code, queued.stdout], [0, 'bob queued\ncarol queued\n'])
    assert.match(
      queued.stderr,
      /nothing listens there.*; the next "osp msg", "osp send" or "osp listen" sends the message$/mu,
    )
    const json = await here.osp(['msg', '--queue', 'bob', 'more', '--json', '--retry-for', '0'])
    assert.equal(json.code, 0)
    const [, queuedMessage] = published((await here.osp(['outbox', '--json'])).stdout, commandEvents.outbox)
    assert.deepEqual(
      published(json.stdout, commandEvents.msg).filter(({ event }) => event === 'queued'),
      [{ v: 1, event: 'queued', id: queuedMessage?.id, recipient: 'bob' }],
    )
    const { stdout } = await here.osp(['outbox'])
    assert.match(stdout, /^1 {2}\S+ {2}bob, carol {2}3 B\n2 {2}\S+ {2}bob {9}5 B\n$/u)
  })

  it('sends the message if there is a server, and keeps a temporarily refused one in the outbox', async () => {
    await using here = await bench({ limits: { mailboxMessages: 1, senderSharePercent: 100 } })
    await using _ = await here.serve()
    assert.deepEqual(await here.osp(['msg', '--queue', 'bob', 'one']), { code: 0, stdout: 'bob stored\n', stderr: '' })
    const { code, stdout, stderr } = await here.osp(['msg', '--queue', 'bob', 'two'])
    assert.deepEqual({ code, stdout }, { code: 0, stdout: 'bob queued\n' })
    assert.match(stderr, /^osp: no space in the mailbox of bob; the next /u)
    assert.deepEqual(await here.waiting(), [3])
    assert.deepEqual(await here.received(1), ['one'])
    assert.equal((await here.osp(['msg', 'carol', 'x'])).code, 0)
    assert.deepEqual(await here.received(1), ['two'])
  })

  it('does not keep a message that the server permanently refuses', async () => {
    const authenticate = async ({ user }: { user: string }) => ({ user })
    await using here = await bench({ authenticator: { authenticate, knows: async (user) => user === 'bob' } })
    await using _ = await here.serve()
    const { code, stderr } = await here.osp(['msg', '--queue', 'carol', 'hi'])
    assert.deepEqual([code, stderr], [1, `osp: the message was not sent: unknown user: carol; ${advice}\n`])
    assert.deepEqual(await here.waiting(), [])
  })

  it('says that the message waits if the login is rejected, and exits with 4', async () => {
    const authenticate = async () => Promise.reject(new Error('no'))
    await using here = await bench({ authenticator: { authenticate, knows: async () => true } })
    await here.queue('one')
    assert.deepEqual(await here.waiting(), [3])
  })
})

spec('the messages in the outbox', (it) => {
  it('are sent in order, before the message of a later osp msg', async () => {
    await using here = await bench()
    await here.queue('one', 'two')
    await using _ = await here.serve()
    assert.equal((await here.osp(['msg', 'bob', 'three'])).stdout, 'bob stored\n')
    assert.deepEqual(await here.received(3), ['one', 'two', 'three'])
    assert.deepEqual(await here.waiting(), [])
  })

  it('are sent by osp send', async () => {
    await using here = await bench()
    await here.queue('one')
    await here.at.write('a', 'x')
    await using _ = await here.serve()
    assert.equal((await here.osp(['send', 'a'])).code, 0)
    assert.deepEqual(await here.received(1), ['one'])
  })

  it('are announced by osp send without operands', async () => {
    await using here = await bench()
    await here.queue('one', 'two')
    await using _ = await here.serve()
    assert.deepEqual(await here.osp(['send']), { code: 0, stdout: '', stderr: 'osp: sending 2 queued messages\n' })
    assert.deepEqual(await here.received(2), ['one', 'two'])
    assert.equal((await here.osp(['send'])).stderr, 'osp: there is nothing to send\n')
  })

  it('set the exit code of osp send without operands if the server refuses them', async () => {
    const authenticate = async ({ user }: { user: string }) => ({ user })
    const authenticator = { authenticate, knows: async (user: string) => user !== 'nobody' }
    await using here = await bench({ authenticator, limits: { mailboxMessages: 1, senderSharePercent: 100 } })
    assert.equal((await here.osp(['msg', '--queue', 'bob', 'nobody', 'lost'])).code, 0)
    await here.queue('one')
    await using _ = await here.serve()
    const lost = `osp: a message to bob, nobody was removed from the outbox: unknown user: nobody; ${advice}\n`
    const sent = await here.osp(['send'])
    assert.deepEqual(sent, { code: 1, stdout: '', stderr: `osp: sending 2 queued messages\n${lost}` })
    await here.osp(['msg', '--queue', 'bob', 'two'])
    const deferred = await here.osp(['send'])
    assert.equal(deferred.code, 5)
    assert.match(deferred.stderr, /^osp: a message to bob waits in the outbox: no space in the mailbox of bob/mu)
    const [event] = published((await here.osp(['send', '--json'])).stdout, commandEvents.send).filter(
      ({ event }) => event === 'message-deferred',
    )
    assert.deepEqual([event?.code, event?.recipients, event?.affected], ['mailbox-full', ['bob'], ['bob']])
    assert.deepEqual(await here.received(1), ['one'])
    assert.equal((await here.osp(['send'])).code, 0)
  })

  it('are sent by osp listen', async () => {
    await using here = await bench()
    await here.queue('one')
    await using _ = await here.serve()
    await using listening = here.begin(['listen'])
    assert.deepEqual(await here.received(1), ['one'])
    listening.child.kill('SIGINT')
    await listening.ended
  })

  it('include the message of a command that was killed while it waited', async () => {
    await using here = await bench()
    await using begun = here.begin(['msg', 'bob', 'one'])
    while ((await here.waiting()).length === 0);
    begun.child.kill('SIGKILL')
    await begun.ended
    assert.deepEqual(await here.waiting(), [3])
    await using _ = await here.serve()
    assert.equal((await here.osp(['msg', 'bob', 'two'])).code, 0)
    assert.deepEqual(await here.received(2), ['one', 'two'])
  })

  it('do not include the message of a command that has failed or was interrupted', async () => {
    await using here = await bench()
    assert.equal((await here.osp(['msg', 'bob', 'one', '--retry-for', '0'])).code, 3)
    await using begun = here.begin(['msg', 'bob', 'two'])
    await begun.printed(/waiting for/u)
    begun.child.kill('SIGINT')
    assert.equal((await begun.ended).code, 130)
    assert.deepEqual(await here.waiting(), [])
  })

  it('do not wait for one that the server permanently refuses, which is reported', async () => {
    const authenticate = async ({ user }: { user: string }) => ({ user })
    await using here = await bench({ authenticator: { authenticate, knows: async (user) => user !== 'nobody' } })
    assert.equal((await here.osp(['msg', '--queue', 'nobody', 'lost'])).code, 0)
    await here.queue('one')
    await using _ = await here.serve()
    const { code, stdout, stderr } = await here.osp(['msg', 'bob', 'two'])
    assert.deepEqual([code, stdout], [0, 'bob stored\n'])
    assert.equal(stderr, `osp: a message to nobody was removed from the outbox: unknown user: nobody; ${advice}\n`)
    assert.deepEqual(await here.received(2), ['one', 'two'])
    assert.deepEqual(await here.waiting(), [])
  })

  it('are shared by all commands, one of which sends them', async () => {
    await using here = await bench()
    const texts = ['a', 'b', 'c', 'd']
    const begun = texts.map((text) => here.begin(['msg', 'bob', text, '--retry-for', '1m']))
    while ((await here.waiting()).length < texts.length);
    await using _ = await here.serve()
    for (const { ended } of begun) assert.deepEqual([(await ended).code], [0])
    assert.deepEqual([...(await here.received(4))].sort(), texts)
    assert.deepEqual(await here.waiting(), [])
  })

  it('are sent by another command after the sending one was killed', async () => {
    await using here = await bench()
    await using first = here.begin(['msg', 'bob', 'one', '--retry-for', '1m'])
    await first.printed(/waiting for/u)
    await using second = here.begin(['msg', 'bob', 'two', '--retry-for', '1m'])
    await second.printed(/waiting for/u)
    while ((await here.waiting()).length < 2);
    first.child.kill('SIGKILL')
    await using _ = await here.serve()
    assert.equal((await second.ended).code, 0)
    assert.deepEqual(await here.received(2), ['one', 'two'])
    assert.deepEqual(await here.waiting(), [])
  })
})

spec('osp outbox', (it) => {
  it('removes messages', async () => {
    await using here = await bench()
    await here.queue('1', '22', '333', '4444')
    assert.deepEqual(await here.osp(['outbox', '--remove', '3', '1']), {
      code: 0,
      stdout: 'removed 1\nremoved 3\n',
      stderr: '',
    })
    assert.deepEqual(await here.waiting(), [2, 4])
    const { stdout } = await here.osp(['outbox', '--remove', '--all', '--json'])
    assert.deepEqual(
      published(stdout, commandEvents.outbox).map(({ event, message }) => [event, message]),
      [
        ['removed', 2],
        ['removed', 4],
      ],
    )
    assert.deepEqual(await here.waiting(), [])
  })

  it('removes the message of a waiting command, which then fails', async () => {
    await using here = await bench()
    await using begun = here.begin(['msg', 'bob', 'one', '--retry-for', '1m'])
    await begun.printed(/waiting for/u)
    assert.equal((await here.osp(['outbox', '--remove', '1'])).stdout, 'removed 1\n')
    assert.equal((await begun.ended).code, 1)
    assert.match(
      begun.stderr,
      /^osp: the message was not sent: the message was removed from the outbox before it was sent$/mu,
    )
  })

  it('removes the message of a running osp msg --queue, which then reports that it is not sent', async () => {
    await using here = await bench()
    await using silent = createServer((socket) => void socket.on('error', () => {}))
    await once(silent.listen(here.port, '127.0.0.1'), 'listening')
    await using begun = here.begin(['msg', '--queue', 'bob', 'one', '--json'])
    while ((await here.waiting()).length === 0);
    assert.equal((await here.osp(['outbox', '--remove', '1'])).stdout, 'removed 1\n')
    assert.equal((await begun.ended).code, 1)
    const { code, text, outcome } = published(begun.stdout, commandEvents.msg).at(-1) ?? {}
    const reason = 'the message was removed from the outbox before it was sent'
    assert.deepEqual({ code, text, outcome }, { code: 'cancelled', text: reason, outcome: 'not-sent' })
  })

  it('removes messages that a running osp send waits to send, without an effect on its exit code', async () => {
    await using here = await bench()
    await here.queue('one')
    await using sending = here.begin(['send', '--retry-for', '1m'])
    await sending.printed(/waiting for/u)
    assert.equal((await here.osp(['outbox', '--remove', '1'])).stdout, 'removed 1\n')
    await using _ = await here.serve()
    assert.equal((await sending.ended).code, 0)
    assert.doesNotMatch(sending.stderr, /removed/u)
  })

  it('rejects invalid operands', async () => {
    await using here = await bench()
    await here.queue('1')
    const usage = async (args: readonly string[], message: RegExp) => {
      const { code, stderr } = await here.osp(['outbox', ...args])
      assert.equal(code, 2)
      assert.match(stderr, message)
    }
    await usage(['1'], /^osp: specify --remove to remove messages$/mu)
    await usage(['--all'], /^osp: specify --remove to remove messages$/mu)
    await usage(['--remove'], /^osp: specify each MESSAGE to remove, or only --all$/mu)
    await usage(['--remove', '--all', '1'], /^osp: specify each MESSAGE to remove, or only --all$/mu)
    await usage(['--remove', 'x'], /^osp: MESSAGE must be a number printed by "osp outbox", not x$/mu)
    await usage(['--remove', '1', '7'], /^osp: there is no message 7; run "osp outbox" to list messages$/mu)
    assert.deepEqual(await here.waiting(), [1])
  })
})
