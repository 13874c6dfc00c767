import assert from 'node:assert/strict'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { commandEvents } from '../../bin/common/events.ts'
import { exitCodes } from '../../bin/common/usage.ts'
import { messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'

spec('osp msg --receipt', (it) => {
  it('waits for each recipient, prints its result, and exits with 0 if all have handled the message', async () => {
    await using chat = await messagingBench()
    const sending = chat.osp('alice', ['msg', '--receipt', 'bob', 'carol', 'double 21'])
    await chat.client('bob').then((bob) => bob.receive(() => '42\nrows'))
    await pause(300)
    await chat.client('carol').then((carol) => carol.receive(() => {}))
    const { code, stdout, stderr } = await sending
    assert.deepEqual(
      [code, stderr],
      [0, 'osp: waiting for the receipts of bob, carol; Ctrl-C leaves them on the server\n'],
    )
    const lines = stdout.trim().split('\n')
    assert.deepEqual(lines.slice(2), ['bob handled 42\\nrows', 'carol handled'])
    const events = chat.osp('alice', ['msg', '--receipt', '--json', 'bob', 'double 21'])
    const receipt = published((await events).stdout, commandEvents.msg).find(({ event }) => event === 'receipt')
    assert.deepEqual([receipt?.recipient, receipt?.state, receipt?.result], ['bob', 'handled', '42\nrows'])
  })

  it('exits with 6 if a recipient rejects the message or it expires, and does not wait with --queue', async () => {
    await using chat = await messagingBench()
    await chat.client('bob').then((bob) => bob.receive((message) => message.reject('no such account')))
    const rejected = await chat.osp('alice', ['msg', '--receipt', 'bob', 'x'])
    assert.deepEqual(
      [rejected.code, rejected.stdout.split('\n').at(-2)],
      [exitCodes.unhandled, 'bob rejected no such account'],
    )
    const expiring = chat.osp('alice', ['msg', '--receipt', '--ttl', '100ms', 'carol', 'x'])
    await pause(1_500)
    await chat.client('carol').then((carol) => carol.receive(() => {}))
    const expired = await expiring
    assert.deepEqual([expired.code, expired.stdout.split('\n').at(-2)], [exitCodes.unhandled, 'carol expired'])
    const both = await chat.osp('alice', ['msg', '--receipt', '--queue', 'bob', 'x'])
    assert.deepEqual([both.code, both.stderr.split('\n')[0]], [2, 'osp: specify either --queue or --receipt'])
  })

  it('receives the output of the program that osp listen runs', async () => {
    await using chat = await messagingBench()
    const sending = chat.osp('alice', ['msg', '--receipt', 'bob', 'hello'])
    const listened = await chat.osp('bob', [
      'listen',
      '--count',
      '1',
      '--exec',
      'sh',
      '--',
      '-c',
      'echo got $OSP_FROM; exit 0',
    ])
    assert.equal(listened.code, 0)
    assert.equal((await sending).stdout.split('\n').at(-2), 'bob handled got alice')
    const failing = chat.osp('alice', ['msg', '--receipt', 'bob', 'hello'])
    await using _ = chat.begin('bob', ['listen', '--tries', '1', '--exec', 'sh', '--', '-c', 'echo no space; exit 3'])
    const outcome = await failing
    assert.deepEqual(
      [outcome.code, outcome.stdout.split('\n').at(-2)],
      [exitCodes.unhandled, 'bob rejected sh exited with 3: no space'],
    )
  })
})

spec('osp listen --receipts', (it) => {
  it('prints the receipt of an interrupted osp msg --receipt, with the id that the command has named', async () => {
    await using chat = await messagingBench()
    const sending = chat.begin('alice', ['msg', '--receipt', 'bob', 'restart'])
    await sending.printed(/^osp: waiting for the receipts of bob; Ctrl-C leaves them on the server$/mu)
    sending.child.kill('SIGINT')
    const { code } = await sending.ended
    const [, id] =
      /^osp: the message ([\da-f]{32}) was stored; print its receipts with osp listen --receipts/mu.exec(
        sending.stderr,
      ) ?? []
    assert.deepEqual([code, id?.length], [exitCodes.interrupted, 32])
    await chat.client('bob').then((bob) => bob.receive(() => 'done'))
    await using listening = chat.begin('alice', ['listen', '--receipts'])
    await listening.printed(new RegExp(`^\\S+T\\S+ ${id} bob handled done$`, 'mu'))
  })

  it('does not count receipts, and prints each of them once', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    await chat.client('bob').then((bob) => bob.receive(() => 'done'))
    for (const text of ['one', 'two']) await alice.send(['bob'], text, { receipt: true }).stored
    await alice.close()
    await using listening = chat.begin('alice', ['listen', '--receipts', '--count', '1'])
    await listening.printed(/ bob handled done\n.* bob handled done\n/u)
    await chat.isOnline('alice')
    assert.equal((await chat.osp('carol', ['msg', 'alice', 'hi'])).code, 0)
    assert.equal((await listening.ended).code, 0)
    assert.deepEqual(
      listening.stdout.split('\n').map((line) => line.split(' ').slice(-2).join(' ')),
      ['handled done', 'handled done', 'carol hi', ''],
    )
    await chat.osp('carol', ['msg', 'alice', 'again'])
    assert.doesNotMatch((await chat.osp('alice', ['listen', '--receipts', '--count', '1'])).stdout, /handled/u)
  })
})

spec('osp send --wait handled', (it) => {
  it('waits for the users whom the server notifies, reports their results, and exits with 6 if one rejects the file', async () => {
    await using chat = await messagingBench({ notify: [{ user: 'ingest' }] })
    await chat.at.write('data.csv', 'a,b\n')
    await chat.at.write('bad.csv', 'x\n')
    await chat.client('ingest').then((client) =>
      client.receive((message) => {
        if (message.file?.name === 'bad.csv') message.reject('one column')
        return `imported ${message.file?.size} bytes`
      }),
    )
    const sent = await chat.osp('alice', ['send', '--wait', 'handled', '--json', join(chat.at.path, 'data.csv')])
    const handled = published(sent.stdout, commandEvents.send).find(({ event }) => event === 'handled')
    assert.deepEqual(
      [sent.code, handled?.recipient, handled?.state, handled?.result],
      [0, 'ingest', 'handled', 'imported 4 bytes'],
    )
    const rejected = await chat.osp('alice', ['send', '--wait', 'handled', join(chat.at.path, 'bad.csv')])
    assert.equal(rejected.code, exitCodes.unhandled)
    assert.match(rejected.stderr, /bad\.csv: ingest rejected one column/u)
  })

  it('prints each result without waiting for the others, which stay on the server if it is killed', async () => {
    await using chat = await messagingBench()
    await chat.at.write('plan.txt', 'one')
    const flags = ['--wait', 'handled', '--json', '--to', 'bob', '--to', 'carol']
    const sending = chat.begin('alice', ['send', ...flags, join(chat.at.path, 'plan.txt')])
    await chat.client('bob').then((bob) => bob.receive(() => 'read'))
    await sending.printed(/"event":"handled".*"recipient":"bob"/u)
    await sending.kill()
    await chat.client('carol').then((carol) => carol.receive(() => 'seen'))
    const [stored] = published(sending.stdout, commandEvents.send).filter(({ event }) => event === 'stored')
    const [id] = (stored?.messageIds ?? []) as readonly string[]
    await using listening = chat.begin('alice', ['listen', '--receipts'])
    await listening.printed(new RegExp(`^\\S+ ${id} plan\\.txt: carol handled seen$`, 'mu'))
  })

  it('says how to see the outcome if it is interrupted, and osp listen --receipts names the file', async () => {
    await using chat = await messagingBench({ notify: [{ user: 'ingest' }] })
    await chat.at.write('plan.txt', 'one')
    const path = join(chat.at.path, 'plan.txt')
    const sending = chat.begin('alice', ['send', '--wait', 'handled', path])
    await sending.printed(/^osp: waiting for the receipts of ingest; Ctrl-C leaves them on the server$/mu)
    sending.child.kill('SIGINT')
    assert.equal((await sending.ended).code, exitCodes.interrupted)
    const hint = /^osp: not handled yet; the server keeps the receipts, and "osp listen --receipts" prints them:$/mu
    assert.match(sending.stderr, hint)
    const [, named, id] = /^osp: {3}(.*): message ([\da-f]{32})$/mu.exec(sending.stderr) ?? []
    assert.equal(named, path)
    await chat.client('ingest').then((client) => client.receive(() => 'imported'))
    await using listening = chat.begin('alice', ['listen', '--receipts', '--json'])
    await listening.printed(/"event":"receipt"/u)
    const [receipt] = published(listening.stdout, commandEvents.listen).filter(({ event }) => event === 'receipt')
    assert.deepEqual([receipt?.id, receipt?.file, receipt?.result], [id, 'plan.txt', 'imported'])
  })
})
