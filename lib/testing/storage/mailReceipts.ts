import assert from 'node:assert/strict'
import { fixed } from '../../limits.ts'
import { receiptMailbox } from '../../names.ts'
import type { MailboxStore, NewMessage } from '../../ports/mailboxes.ts'
import { decodeBody } from '../../wire/messageBody.ts'
import { receiptStates } from '../../wire/protocol.ts'
import { type Checks, upTo } from '../testCases.ts'
import type { StorageSuite, TestedStorage } from './fixture.ts'
import { all, append, message, messageNumbersOf, roomy, seqsOf, waiting } from './mailSteps.ts'

/** Returns a message that asks for receipts. */
const asking = (number: number, other: Partial<NewMessage> = {}) => message(number, { receipt: true, ...other })

/** Returns the receipts of alice: the number of the message, the recipient, the state and the result. */
async function receiptsIn(mailboxes: MailboxStore, user = 'alice'): Promise<readonly (readonly unknown[])[]> {
  const found = await all(mailboxes, receiptMailbox(user))
  return found.map(({ sender, content: body }) => {
    const { attributes, content } = decodeBody(body)
    const { messageId = new Uint8Array(4), recipient, state } = attributes.receipt ?? {}
    assert.equal(sender, user)
    return [new DataView(messageId.buffer, messageId.byteOffset).getUint32(0), recipient, state, text(content)]
  })
}

const text = (content: Uint8Array) => new TextDecoder().decode(content)
const { handled, rejected, expired } = receiptStates

const receiptChecks: Checks<TestedStorage> = {
  'follows in the step that removes the message for each recipient, with the result': async (storage) => {
    const { mailboxes } = storage
    await append(mailboxes, asking(1), ['bob', 'eve'], roomy)
    await append(mailboxes, message(2), ['bob'], roomy)
    await append(mailboxes, asking(3, { sender: 'carol' }), ['bob'], roomy)
    assert.deepEqual(
      (await all(mailboxes, 'bob')).map(({ receipt }) => receipt ?? false),
      [true, false, true],
    )
    const seqs = await seqsOf(mailboxes, 'bob')
    const result = 'ä'.repeat(fixed.resultBytes / 2)
    await mailboxes.remove('bob', seqs, false, { state: 'handled', results: new Map([[seqs[0] ?? 0, result]]) })
    await mailboxes.remove('bob', seqs)
    for (const _ of ['now', 'after a restart']) {
      assert.deepEqual(await receiptsIn(storage.mailboxes), [[1, 'bob', handled, result]])
      assert.deepEqual(await receiptsIn(storage.mailboxes, 'carol'), [[3, 'bob', handled, '']])
      assert.deepEqual(await waiting(storage.mailboxes, 'eve'), [1])
      await storage.restart()
    }
    const [{ id: first } = { id: new Uint8Array() }] = await all(storage.mailboxes, receiptMailbox('alice'))
    await storage.mailboxes.remove('eve', await seqsOf(storage.mailboxes, 'eve'))
    assert.deepEqual((await receiptsIn(storage.mailboxes)).slice(1), [[1, 'eve', handled, '']])
    const [, second] = await all(storage.mailboxes, receiptMailbox('alice'))
    assert.notDeepEqual(second?.id, first)
    await storage.mailboxes.remove(receiptMailbox('alice'), await seqsOf(storage.mailboxes, receiptMailbox('alice')))
    await storage.restart()
    assert.deepEqual(await receiptsIn(storage.mailboxes), [])
  },
  'follows once when all devices have answered, with the reason of the first one that has rejected the message': async (
    storage,
  ) => {
    const { mailboxes } = storage
    if (!mailboxes.devices) return
    await mailboxes.devices.open('bob', ['phone', 'laptop'], 0, 2)
    for (const number of upTo(3)) await append(mailboxes, asking(number), ['bob'], roomy)
    const [first = 0, second = 0, third = 0] = await seqsOf(mailboxes, 'bob')
    const resultOf = (seq: number, result: string) => new Map([[seq, result]])
    await mailboxes.remove('bob', [first], false, {
      state: 'handled',
      results: resultOf(first, 'one'),
      device: 'phone',
    })
    await mailboxes.setAside('bob', [second], resultOf(second, 'no such account'), 'phone')
    await mailboxes.setAside('bob', [third], resultOf(third, 'ä'.repeat(fixed.resultBytes / 2)), 'phone')
    assert.deepEqual(await receiptsIn(mailboxes), [])
    await storage.restart()
    const results = new Map([first, second].map((seq) => [seq, 'two']))
    const last = { state: 'handled', results, device: 'laptop' } as const
    for (let times = 0; times < 2; times++) await storage.mailboxes.remove('bob', [first, second], false, last)
    await storage.mailboxes.setAside('bob', [third], resultOf(third, 'another reason'), 'laptop')
    await storage.restart()
    const sorted = (await receiptsIn(storage.mailboxes)).toSorted(([a], [b]) => Number(a) - Number(b))
    assert.deepEqual(sorted, [
      [1, 'bob', handled, 'two'],
      [2, 'bob', rejected, 'no such account'],
      [3, 'bob', rejected, 'ä'.repeat(fixed.resultBytes / 2)],
    ])
  },
  'has the reason of a device, even if the storage is compacted and the other device is forgotten': async (storage) => {
    if (!storage.mailboxes.devices) return
    await storage.mailboxes.devices.open('bob', ['phone', 'laptop'], 0, 2)
    await append(storage.mailboxes, asking(1), ['bob'], roomy)
    const [seq = 0] = await seqsOf(storage.mailboxes, 'bob')
    await storage.mailboxes.setAside('bob', [seq], new Map([[seq, 'no such account']]), 'phone')
    for (let round = 1; round <= 10; round++) {
      const numbers = upTo(50).map((number) => 50 * round + number)
      await Promise.all(numbers.map((number) => append(storage.mailboxes, message(number), ['carol'], roomy)))
      await storage.mailboxes.remove('carol', await seqsOf(storage.mailboxes, 'carol'))
      if (round % 3 === 2) await storage.restart()
    }
    await storage.mailboxes.devices?.open('bob', ['phone'], 2 * fixed.deviceSeenMs, 2)
    await storage.mailboxes.devices?.forget(1)
    assert.deepEqual(await receiptsIn(storage.mailboxes), [[1, 'bob', rejected, 'no such account']])
  },
  'reports a rejected message once, even if it is returned and handled later': async (storage) => {
    const first = storage.mailboxes
    await append(first, asking(1), ['bob', 'eve'], roomy)
    const [seq = 0] = await seqsOf(first, 'bob')
    await first.setAside('bob', [seq], new Map([[seq, 'no such account']]))
    await first.setAside('bob', [seq])
    const told = [[1, 'bob', rejected, 'no such account']]
    assert.deepEqual(await receiptsIn(first), told)
    await storage.restart()
    await storage.mailboxes.return('bob', [seq], 9)
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [1])
    await storage.restart()
    await storage.mailboxes.remove('bob', await seqsOf(storage.mailboxes, 'bob'))
    assert.deepEqual(await receiptsIn(storage.mailboxes), told)
    const other = await seqsOf(storage.mailboxes, 'eve')
    await storage.mailboxes.setAside('eve', other)
    await storage.mailboxes.remove('eve', other, false, { state: 'rejected' })
    await storage.restart()
    assert.deepEqual(await receiptsIn(storage.mailboxes), [...told, [1, 'eve', rejected, '']])
  },
  'reports a message that has expired, by its age or its time to live, or that is removed as expired': async (
    storage,
  ) => {
    const { mailboxes } = storage
    for (const number of upTo(4)) await append(mailboxes, asking(number), ['bob'], roomy)
    await append(mailboxes, asking(5, { expiresAt: 1_000 }), ['bob', 'eve'], roomy)
    await append(mailboxes, message(6, { expiresAt: 1_000 }), ['bob'], roomy)
    const seqs = await seqsOf(mailboxes, 'bob')
    await mailboxes.setAside('bob', seqs.slice(0, 1))
    const found = await mailboxes.expire(100, 4, 0, 1_000)
    const counts = Object.fromEntries(found.map(({ user, messages }) => [user, messages]))
    assert.deepEqual(counts, { bob: 5, eve: 1 })
    await storage.restart()
    const again = storage.mailboxes
    await again.remove('bob', seqs, false, { state: 'expired' })
    const told = await receiptsIn(again)
    const sorted = told.toSorted((a, b) => `${a[0]} ${a[1]}`.localeCompare(`${b[0]} ${b[1]}`))
    assert.deepEqual(sorted, [
      ...[[1, 'bob', rejected, ''], ...[2, 3, 4].map((number) => [number, 'bob', expired, ''])],
      ...['bob', 'eve'].map((user) => [5, user, expired, '']),
    ])
    assert.deepEqual(await all(again, 'bob'), [])
  },
  'waits for a sender that has sent the message to itself, and expires with age': async (storage) => {
    const { mailboxes } = storage
    await append(mailboxes, asking(1), ['alice'], roomy)
    await mailboxes.expire(10, 0, 0)
    await mailboxes.remove('alice', await seqsOf(mailboxes, 'alice'))
    assert.deepEqual(await receiptsIn(mailboxes), [[1, 'alice', handled, '']])
    await storage.restart()
    await storage.mailboxes.expire(1_000_000, 100, 0)
    assert.deepEqual(await receiptsIn(storage.mailboxes), [])
  },
  'has its space reserved: a message that asks for more receipts than the limits allow is refused': async (storage) => {
    const { mailboxes } = storage
    const few = { ...roomy, receipts: 3 }
    await append(mailboxes, asking(1), ['bob', 'eve'], few)
    await assert.rejects(append(mailboxes, asking(2), ['bob', 'eve'], few), { code: 'too-many-receipts' })
    await append(mailboxes, message(2), ['bob', 'eve'], few)
    await append(mailboxes, asking(3, { sender: 'zoe' }), ['bob', 'eve'], few)
    await append(mailboxes, asking(4), ['carol'], few)
    await mailboxes.setAside('carol', await seqsOf(mailboxes, 'carol'))
    await mailboxes.remove('eve', await seqsOf(mailboxes, 'eve'))
    await storage.restart()
    const full = append(storage.mailboxes, asking(5), ['bob'], few)
    await assert.rejects(full, { code: 'too-many-receipts' })
    const [seq = 0] = await seqsOf(storage.mailboxes, receiptMailbox('alice'))
    await storage.mailboxes.remove(receiptMailbox('alice'), [seq])
    await append(storage.mailboxes, asking(5), ['bob'], few)
    await assert.rejects(append(storage.mailboxes, asking(6), ['bob'], few), { code: 'too-many-receipts' })
  },
  'counts in the limits of all mailboxes before it exists': async ({ mailboxes }) => {
    const messages = { ...roomy, allMessages: 5 }
    await append(mailboxes, asking(1), ['bob', 'eve'], messages)
    await assert.rejects(append(mailboxes, asking(2), ['bob'], messages), { code: 'mailbox-full' })
    await mailboxes.setAside('bob', await seqsOf(mailboxes, 'bob'))
    await assert.rejects(append(mailboxes, asking(2), ['bob'], messages), { code: 'mailbox-full' })
    await mailboxes.remove('eve', await seqsOf(mailboxes, 'eve'))
    await append(mailboxes, asking(2), ['bob'], messages)
    const { bytes } = (await mailboxes.levels()).reduce((sum, level) => ({ bytes: sum.bytes + level.bytes }), {
      bytes: 0,
    })
    const allBytes = { ...roomy, allBytes: bytes + 2 * fixed.receiptBytes + asking(3).content.length - 1 }
    await assert.rejects(append(mailboxes, asking(3), ['bob'], allBytes), { code: 'disk-full' })
    await append(mailboxes, message(4), ['bob'], allBytes)
  },
  'follows earlier ones, also under concurrent calls, and is announced when it is durable': async (storage) => {
    const { mailboxes } = storage
    for (const number of upTo(60)) await append(mailboxes, asking(number), ['bob'], roomy)
    const announced: string[] = []
    using _ = mailboxes.watchReceipts((user) => announced.push(user))
    const seqs = await seqsOf(mailboxes, 'bob')
    const removed = seqs.map((seq, at) =>
      at % 3 === 0 ? mailboxes.setAside('bob', [seq]) : mailboxes.remove('bob', [seq], at % 2 === 0),
    )
    await Promise.all(removed)
    assert.ok(announced.length > 0 && announced.every((user) => user === 'alice'))
    const before = await seqsOf(mailboxes, receiptMailbox('alice'))
    assert.deepEqual(
      before,
      before.toSorted((a, b) => a - b),
    )
    const numbers = (await receiptsIn(mailboxes)).map(([number]) => number)
    assert.deepEqual(new Set(numbers), new Set(upTo(60)))
    assert.equal(numbers.length, 60)
    await storage.restart()
    assert.deepEqual(await seqsOf(storage.mailboxes, receiptMailbox('alice')), before)
    assert.deepEqual(messageNumbersOf(await all(storage.mailboxes, 'bob')), [])
  },
}

const failedFlushChecks: Checks<TestedStorage> = {
  'leaves the message without a receipt, or removes it with one': async (storage) => {
    const { mailboxes } = storage
    for (const number of upTo(3)) await append(mailboxes, asking(number), ['bob'], roomy)
    {
      using _ = await storage.place.failFlushes?.()
      const calls = [mailboxes.remove('bob', [1]), mailboxes.setAside('bob', [2]), mailboxes.expire(50, 4, 0)]
      await Promise.all(calls.map((call) => assert.rejects(call, { code: 'internal' })))
      assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 2, 3])
      assert.deepEqual(await receiptsIn(mailboxes), [])
    }
    await storage.restart()
    const left = await waiting(storage.mailboxes, 'bob')
    const told = (await receiptsIn(storage.mailboxes)).map(([number]) => number)
    assert.deepEqual(
      [...left, ...told].toSorted((a, b) => Number(a) - Number(b)),
      [1, 2, 3],
    )
    await storage.mailboxes.remove('bob', await seqsOf(storage.mailboxes, 'bob'))
    assert.equal((await receiptsIn(storage.mailboxes)).length, 3)
  },
}

/** The promises of `MailboxStore` about receipts. */
export const receiptSuites: readonly StorageSuite[] = [
  ['a receipt in a storage', receiptChecks],
  ['a failed flush of a receipt in a storage', failedFlushChecks, 'failingLocation'],
]
