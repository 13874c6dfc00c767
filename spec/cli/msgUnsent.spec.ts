import assert from 'node:assert/strict'
import { join } from 'node:path'
import { OspError } from 'ospd'
import { memory } from 'ospd/memory'
import { commandEvents } from '../../bin/common/events.ts'
import { feed, readsStdin, run } from '../support/commands.ts'
import { messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

spec('osp msg that is rejected', (it) => {
  it('by a full mailbox names its owner, sends to no recipient, and exits with 5', async () => {
    await using chat = await messagingBench({ limits: { mailboxMessages: 1, senderSharePercent: 100 } })
    await chat.osp('alice', ['msg', 'bob', 'one'])
    const { code, stdout, stderr } = await chat.osp('alice', ['msg', 'carol', 'bob', 'two'])
    assert.deepEqual({ code, stdout }, { code: 5, stdout: '' })
    assert.equal(stderr, 'osp: the message was not sent: no space in the mailbox of bob\n')
    const json = published(
      (await chat.osp('alice', ['msg', 'carol', 'bob', 'two', '--json'])).stdout,
      commandEvents.msg,
    )
    const { code: why, retry, recipients, outcome } = json.at(-1) ?? {}
    assert.deepEqual(
      { why, retry, recipients, outcome },
      {
        why: 'mailbox-full',
        retry: 'later',
        recipients: ['bob'],
        outcome: 'not-sent',
      },
    )
    assert.equal((await chat.osp('alice', ['msg', 'carol', 'two'])).code, 0)
  })

  it('by the share of one sender says so, and other users can still send', async () => {
    await using chat = await messagingBench({ limits: { mailboxMessages: 2 } })
    await chat.osp('alice', ['msg', 'bob', 'one'])
    const { code, stdout, stderr } = await chat.osp('alice', ['msg', 'bob', 'two'])
    assert.deepEqual({ code, stdout }, { code: 5, stdout: '' })
    const why = 'the waiting messages of alice fill the share of one sender; try again after some are received'
    assert.equal(stderr, `osp: the message was not sent: ${why}: no space in the mailbox of bob\n`)
    assert.equal((await chat.osp('eve', ['msg', 'bob', 'two'])).code, 0)
  })

  it('because the server is full exits with 5 at once, whatever --retry-for is, as its help says', async () => {
    await using chat = await messagingBench({ limits: { messageStoreBytes: 20 } })
    await chat.osp('alice', ['msg', 'bob', 'carol', 'hello'])
    const { code, stdout } = await chat.osp('alice', ['msg', 'dave', '1', '--retry-for', '1d', '--json'])
    assert.equal(code, 5)
    const { code: reason, outcome } = published(stdout, commandEvents.msg).at(-1) ?? {}
    assert.deepEqual([reason, outcome], ['disk-full', 'not-sent'])
    const help = (await run('osp', ['msg', '--help'])).stdout.replaceAll(/\s+/gu, ' ')
    assert.match(help, /rejects the login temporarily; not if it rejects the message \[default: 10s\]/u)
  })

  it('because of unknown users names them, and exits with 1', async () => {
    const authenticate = async ({ user }: { user: string }) => ({ user })
    const knows = async (user: string) => user === 'bob'
    await using chat = await messagingBench({ authenticator: { authenticate, knows } })
    const one = await chat.osp('alice', ['msg', 'bob', 'carol', 'hi'])
    assert.deepEqual(one, {
      code: 1,
      stdout: '',
      stderr: 'osp: the message was not sent: unknown user: carol; enclose text of several words in quotes\n',
    })
    const two = await chat.osp('alice', ['msg', 'dave', 'bob', 'carol', 'hi'])
    assert.match(two.stderr, /unknown user: dave, carol; enclose text of several words in quotes$/mu)
    const three = await chat.osp('alice', ['msg', 'bobb', 'hi'])
    const advice = 'the operator of the server adds users with "ospd user add"'
    assert.equal(three.stderr, `osp: the message was not sent: unknown user: bobb; ${advice}\n`)
    await using _ = chat.begin('bob', ['listen'])
    await chat.isOnline('bob')
    const four = await chat.osp('alice', ['msg', 'bobb', 'hi'])
    assert.equal(four.stderr, 'osp: the message was not sent: unknown user: bobb; did you mean bob?\n')
    const five = await chat.osp('alice', ['msg', 'bob', 'bobb', 'hi'])
    assert.match(five.stderr, /unknown user: bobb; enclose text of several words in quotes$/mu)
    const path = await chat.at.write('plan.txt', 'one')
    const file = await chat.osp('alice', ['send', join(chat.at.path, path), '--to', 'bobb'])
    assert.match(
      file.stderr,
      /plan\.txt: unknown user: bobb; the operator of the server adds users with "ospd user add"$/mu,
    )
  })

  it('because of too many recipients exits with 1', async () => {
    await using chat = await messagingBench()
    const names = Array.from({ length: 17 }, (_, at) => `user${at}`)
    const { code, stdout, stderr } = await chat.osp('alice', ['msg', ...names, 'hi'])
    assert.deepEqual({ code, stdout }, { code: 1, stdout: '' })
    assert.match(stderr, /at most 16 recipients; this one has 17/u)
    assert.equal((await chat.osp('alice', ['msg', ...names.slice(1), 'hi'])).code, 0)
  })

  it('because its login is rejected exits with 4', async () => {
    const authenticate = async () => {
      throw new OspError('unauthorized', 'nobody comes in here')
    }
    await using chat = await messagingBench({ authenticator: { authenticate, knows: async () => true } })
    const { code, stderr } = await chat.osp('alice', ['msg', 'bob', 'hi'])
    assert.equal(code, 4)
    assert.match(
      stderr,
      /^osp: gave up on .*: .*nobody comes in here\nosp: no token was sent; .*\nosp: the message was not sent\n$/u,
    )
  })
})

spec('osp msg without an answer', (it) => {
  it('says that nothing was sent if there is no server, with exit code 3', async () => {
    await using chat = await messagingBench()
    await chat.server.server.close()
    const { code, stderr } = await chat.osp('alice', ['msg', 'bob', 'hi', '--retry-for', '300ms'])
    assert.equal(code, 3)
    const lines = stderr.split('\n')
    assert.match(
      lines[0] ?? '',
      /^osp: waiting for 127\.0\.0\.1:\d+: nothing listens there.*; next try in \d+ s; giving up after .* \(--retry-for\)$/u,
    )
    assert.match(lines[1] ?? '', /^osp: gave up on 127\.0\.0\.1:\d+: nothing listens there/u)
    assert.deepEqual(lines.slice(2), ['osp: the message was not sent', ''])
    const quiet = await chat.osp('alice', ['msg', 'bob', 'hi', '--retry-for', '0', '--quiet'])
    assert.match(quiet.stderr, /^osp: gave up on .*\nosp: the message was not sent\n$/u)
  })

  it('that is interrupted says so, with exit code 130', async () => {
    await using chat = await messagingBench()
    await chat.server.server.close()
    await using begun = chat.begin('alice', ['msg', 'bob', 'hi'])
    await begun.printed(/waiting for/u)
    begun.child.kill('SIGINT')
    assert.equal((await begun.ended).code, 130)
    assert.match(begun.stderr, /^osp: the message was not sent: interrupted$/mu)
  })

  it('that is interrupted while it reads its text also exits with 130', async () => {
    await using chat = await messagingBench()
    await using begun = chat.begin('alice', ['msg', 'bob', '-'])
    await feed(begun, 'hi')
    await turns(() => readsStdin(begun.child.pid))
    begun.child.kill('SIGINT')
    assert.equal((await begun.ended).code, 130)
    assert.deepEqual([begun.stdout, begun.stderr], ['', 'osp: the message was not sent: interrupted\n'])
  })

  it('that is interrupted after sending says that the outcome is unknown', async () => {
    const storage = memory()
    const appending: ((outcomes: []) => void)[] = []
    storage.mailboxes.append = () => new Promise((resolve) => appending.push(resolve))
    await using chat = await messagingBench({ storage })
    for (const [at, flags] of [[], ['--json']].entries()) {
      await using begun = chat.begin('alice', ['msg', 'bob', 'hi', ...flags])
      await turns(() => appending.length > at)
      begun.child.kill('SIGINT')
      assert.equal((await begun.ended).code, 130)
      if (at === 0) assert.equal(begun.stderr, 'osp: it is unknown whether the message was stored: interrupted\n')
      else assert.equal(published(begun.stdout, commandEvents.msg).at(-1)?.outcome, 'unknown')
    }
    for (const resolve of appending) resolve([])
  })
})
