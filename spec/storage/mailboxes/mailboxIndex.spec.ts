import assert from 'node:assert/strict'
import fc from 'fast-check'
import { IndexEntry } from '../../../lib/storage/mailboxes/mailbox.ts'
import { MailboxIndex } from '../../../lib/storage/mailboxes/mailboxIndex.ts'
import { spec } from '../../support/spec.ts'

const senders = ['alice', 'eve', 'zoe']
const users = ['bob', 'carol', 'dave']

/** An operation on an index; `at` selects one of the messages so far. */
const steps = fc.array(
  fc.record({
    does: fc.constantFrom('append', 'append', 'take', 'setAside', 'move', 'expire', 'undo'),
    sender: fc.constantFrom(...senders),
    to: fc.uniqueArray(fc.constantFrom(...users), { minLength: 1 }),
    at: fc.nat(30),
    bytes: fc.nat(100),
  }),
  { maxLength: 80 },
)

spec('the waiting messages of each sender', (it) => {
  it('are counted correctly after any sequence of appends, removals, moves, expirations and undone appends', () => {
    fc.assert(
      fc.property(steps, (done) => {
        const ledger = new MailboxIndex()
        const given: IndexEntry[] = []
        for (const { does, sender, to, at, bytes } of done) {
          const held = given[at % Math.max(1, given.length)]
          if (does === 'append') {
            const seq = given.length + 1
            const added = new IndexEntry(seq, sender, seq, bytes, 60 + bytes)
            given.push(added)
            for (const user of to) ledger.add(user, added)
            ledger.locate(added, { segment: 1, offset: seq, length: 60 + bytes })
          } else if (does === 'expire') ledger.expireMessages(at)
          else if (!held) continue
          else if (does === 'take') for (const user of to) ledger.remove(user, held.seq)
          else if (does === 'setAside') for (const user of to) ledger.mailbox(user)?.setAside(held.seq)
          // A record that was moved with fewer recipients is shorter.
          else if (does === 'move') ledger.locate(held, { segment: 2, offset: at, length: 50 + bytes })
          else
            for (const user of to) {
              const taken = ledger.remove(user, held.seq)
              if (taken) ledger.add(user, taken)
            }
        }
        for (const sender of senders) {
          const own = given.filter((held) => held.sender === sender && held.waiting > 0)
          assert.equal(
            ledger.waitingOf(sender).messages,
            own.reduce((sum, { waiting }) => sum + waiting, 0),
          )
          assert.equal(
            ledger.waitingOf(sender).bytes,
            own.reduce((sum, { length }) => sum + length, 0),
          )
          for (const user of users) {
            const waiting = own.filter(({ seq }) => ledger.get(user, seq))
            const { messages, bytes } = ledger.mailbox(user)?.amountOf(sender) ?? { messages: 0, bytes: 0 }
            assert.deepEqual([messages, bytes], [waiting.length, waiting.reduce((sum, held) => sum + held.bytes, 0)])
          }
        }
      }),
      { numRuns: 500 },
    )
  })
})
