import assert from 'node:assert/strict'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { Mailboxes } from '../../../lib/storage/mailboxes/mailboxes.ts'
import { writeMessage, writeSeqs, writeTime } from '../../../lib/storage/mailboxes/records.ts'
import { message, waiting } from '../../../lib/testing/storage/mailSteps.ts'
import { spec } from '../../support/spec.ts'

/** Opens mailboxes with a journal of these records. */
async function opened(...records: readonly Buffer[]): Promise<Mailboxes> {
  const journal = new MemoryJournal(1_000, { capacity: 1_000_000 })
  await journal.append(records)
  const mailboxes = new Mailboxes()
  await mailboxes.open(journal, nodePlatform())
  return mailboxes
}

const post = writeMessage(1, message(1), ['bob'], () => 0)
const time = { now: 5, lastSeq: 2, messagesBefore: -3, idsBefore: 0 }

spec('a record of a journal with a valid CRC', (it) => {
  it('is applied', async () => {
    const mailboxes = await opened(post, writeTime(time))
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
    assert.equal(await mailboxes.lastTime(), 5)
    await mailboxes.close()
  })

  it('is reported as written by another version if its length differs from its content', async () => {
    const strange = { code: 'data-format', message: /an invalid record at 1 of segment 1/u }
    for (let length = 1; length < post.length; length++) {
      await assert.rejects(opened(post, post.subarray(0, length)), strange, `${length} bytes`)
    }
    await assert.rejects(opened(post, Buffer.concat([post, post])), strange)
    await assert.rejects(opened(post, writeTime(time).subarray(0, 20)), strange)
    await assert.rejects(opened(post, writeSeqs('removed', { user: 'bob', seqs: [1] }).subarray(0, -1)), strange)
  })

  it('is reported as written by another version if a number exceeds the valid range', async () => {
    const strange = { code: 'data-format' }
    for (const number of [Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      await assert.rejects(opened(writeMessage(number, message(1), ['bob'], () => 0)), strange)
      await assert.rejects(opened(writeTime({ ...time, now: number })), strange)
      await assert.rejects(opened(post, writeSeqs('aside', { user: 'bob', seqs: [number] })), strange)
    }
  })
})
