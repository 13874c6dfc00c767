import assert from 'node:assert/strict'
import { commandEvents } from '../../bin/common/events.ts'
import { type MessagingBench, messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'

const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d`

const empty = (stderr: string, code = 0) => ({ code, stdout: '', stderr })

/** Makes a device of bob known, which then no longer listens. */
async function usedDevice(chat: MessagingBench, device: string): Promise<void> {
  await using listening = chat.begin('bob', ['listen', '--device', device])
  await chat.isOnline('bob')
  await listening.kill('SIGTERM')
  await chat.isOnline('bob', false)
}

spec('osp devices', (it) => {
  it('lists the devices: when they last listened, and how many messages wait for them', async () => {
    await using chat = await messagingBench()
    assert.deepEqual(await chat.osp('bob', ['devices']), empty(''))
    await usedDevice(chat, 'old phone')
    await using laptop = chat.begin('bob', ['listen', '--device', 'laptop'])
    await chat.isOnline('bob')
    await (await chat.client('alice')).send(['bob'], 'hello')
    await laptop.printed(/hello/u)
    const lines = new RegExp(`^laptop     listening  +\\d waiting\nold phone  ${time}  1 waiting\n$`, 'u')
    const { code, stdout, stderr } = await chat.osp('bob', ['devices', 'ls'])
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(stdout, lines)
    const events = published((await chat.osp('bob', ['devices', '--json'])).stdout, commandEvents.devices)
    assert.deepEqual(
      events.filter(({ event }) => event === 'device').map(({ name, listening }) => [name, listening]),
      [
        ['laptop', true],
        ['old phone', false],
      ],
    )
  })

  it('removes devices, and the messages that only they have not handled', async () => {
    await using chat = await messagingBench()
    for (const device of ['phone', 'laptop', 'tablet']) await usedDevice(chat, device)
    const alice = await chat.client('alice')
    const sent = alice.send(['bob'], 'hello', { receipt: true })
    await sent
    assert.equal((await chat.osp('bob', ['listen', '--device', 'laptop', '-n', '1'])).code, 0)
    assert.deepEqual(await chat.osp('bob', ['devices', 'rm', 'phone', 'tablet']), {
      ...empty(''),
      stdout: 'phone removed\ntablet removed\n',
    })
    for await (const { recipient, state } of sent.receipts()) assert.deepEqual([recipient, state], ['bob', 'handled'])
    assert.deepEqual(await chat.osp('bob', ['inbox']), empty(''))
    const { stdout } = await chat.osp('bob', ['devices', 'rm', 'laptop', '--json'])
    assert.deepEqual(
      published(stdout, commandEvents.devices)
        .filter(({ event }) => event === 'removed')
        .map(({ name }) => name),
      ['laptop'],
    )
  })

  it('removes no device if one is unknown or listens', async () => {
    await using chat = await messagingBench()
    await usedDevice(chat, 'phone')
    const unknown = await chat.osp('bob', ['devices', 'rm', 'phone', 'phono'])
    assert.deepEqual(unknown, empty('osp: unknown device phono; did you mean phone?\n', 1))
    await using _ = chat.begin('bob', ['listen'])
    await chat.isOnline('bob')
    const listening = await chat.osp('bob', ['devices', 'rm', 'phone', ''])
    assert.deepEqual(listening, empty('osp: a program is listening for the device ""; end it first\n', 1))
    assert.match(
      (await chat.osp('bob', ['devices'])).stdout,
      new RegExp(`^""     listening  +0 waiting\nphone  ${time}  0 waiting\n$`, 'u'),
    )
  })

  it('rejects other operands', async () => {
    await using chat = await messagingBench()
    for (const [args, text] of [
      [['devices', 'list'], 'unknown verb list; did you mean ls?'],
      [['devices', 'remove', 'phone'], 'unknown verb remove; did you mean rm?'],
      [['devices', 'ls', 'phone'], 'devices ls takes no operand phone'],
      [['devices', 'rm'], 'devices rm requires the NAME of a device'],
    ] as const) {
      const { code, stderr } = await chat.osp('bob', args)
      assert.deepEqual([code, stderr.includes(text)], [2, true], stderr)
    }
  })
})
