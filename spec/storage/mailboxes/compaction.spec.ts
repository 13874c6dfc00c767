import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Journal } from '../../../lib/storage/journal/journal.ts'
import { Mailboxes } from '../../../lib/storage/mailboxes/mailboxes.ts'
import { recordKinds, seqOf } from '../../../lib/storage/mailboxes/records.ts'
import { all, append, long, message, roomy, waiting } from '../../../lib/testing/storage/mailSteps.ts'
import { upTo } from '../../../lib/testing/testCases.ts'
import { spec } from '../../support/spec.ts'
import { BrittleJournal, type Fate } from './brittleJournal.ts'

const segmentBytes = 1_000

const newDisk = () => new MemoryJournal(segmentBytes)
const bytesOf = ({ segments }: Journal) => segments.reduce((sum, { bytes }) => sum + bytes, 0)

async function opened(journal: Journal): Promise<Mailboxes> {
  const mailboxes = new Mailboxes()
  await mailboxes.open(journal, nodePlatform())
  return mailboxes
}

/** Appends messages from this number on, and removes each: about 300 bytes of journal for each. */
async function churn(mailboxes: Mailboxes, from: number, count: number): Promise<void> {
  for (let number = from; number < from + count; number++) {
    await append(mailboxes, long(number, 200), ['churn'], roomy)
    await mailboxes.remove('churn', [await mailboxes.lastSeq()])
    // Moved records are appended with later groups.
    await setImmediate()
  }
}

spec('the journal of mailboxes', (it) => {
  it('stays short after many appends and removals, and keeps the waiting messages', async () => {
    const disk = newDisk()
    const mailboxes = await opened(disk)
    for (const number of upTo(5)) await append(mailboxes, message(number), ['bob', 'eve'], roomy)
    for (let round = 1; round < 20; round++) {
      await churn(mailboxes, round * 100, 20)
      await mailboxes.expire(round * 100 + 20, 0, round * 100)
      await mailboxes.remove('bob', [round])
      assert.ok(bytesOf(disk) < 8 * segmentBytes, `${bytesOf(disk)} bytes`)
    }
    assert.deepEqual(await waiting(mailboxes, 'bob'), [])
    await mailboxes.close()
    const again = await opened(disk)
    assert.deepEqual(await waiting(again, 'eve'), upTo(5))
    assert.deepEqual(await waiting(again, 'bob'), [])
  })

  it('remembers the ids of removed messages after many moves', async () => {
    const disk = newDisk()
    const mailboxes = await opened(disk)
    for (const number of upTo(5)) await append(mailboxes, message(number), ['bob'], roomy)
    await mailboxes.remove('bob', upTo(5))
    await churn(mailboxes, 1_000, 300)
    assert.ok((disk.segments[0]?.number ?? 0) > 20)
    await mailboxes.close()
    const again = await opened(disk)
    for (const number of upTo(5)) await append(again, message(number), ['bob'], roomy)
    await assert.rejects(append(again, message(1), ['eve'], roomy), { code: 'id-reused' })
    assert.deepEqual(await waiting(again, 'bob'), [])
  })

  it('keeps messages set aside, which count towards the limits', async () => {
    const disk = newDisk()
    const mailboxes = await opened(disk)
    for (const number of upTo(3)) await append(mailboxes, message(number), ['bob'], roomy)
    await mailboxes.setAside('bob', [2])
    await churn(mailboxes, 1_000, 100)
    await mailboxes.close()
    const again = await opened(disk)
    assert.deepEqual(await waiting(again, 'bob'), [1, 3])
    assert.equal((await again.levels())[0]?.messages, 3)
  })

  it('is the same if the process dies between moving and dropping', async () => {
    const disk = newDisk()
    const first = await opened(disk)
    for (const number of upTo(3)) await append(first, message(number), ['bob', 'eve'], roomy)
    await first.setAside('bob', [2])
    await first.remove('eve', [1])
    await first.close()
    for (let death = 0; death < 5; death++) {
      const journal = new BrittleJournal(disk)
      journal.drops = death % 2
      const mailboxes = await opened(journal)
      void churn(mailboxes, 1_000 * (death + 1), 100)
      await journal.death
      const again = await opened(disk)
      assert.deepEqual(await waiting(again, 'bob'), [1, 3])
      assert.deepEqual(await waiting(again, 'eve'), [2, 3])
      const contents = (await all(again, 'eve')).map(({ content }) => new TextDecoder().decode(content))
      assert.deepEqual(contents, ['message 2', 'message 3'])
      await again.close()
    }
  })

  it('is the same if the process dies while it moves messages, whichever of their records are written', async () => {
    let partial = 0
    for (const number of upTo(8)) {
      for (const fate of [{ dies: number }, { loses: number - 1 }]) {
        for (let before = 0; before < 6; before++) {
          const disk = await moved([...Array<Fate>(before).fill('durable'), fate])
          if (copiesOf(2, disk) > 1) partial++
          const scene = `${JSON.stringify(fate)} after ${before} appends`
          for (const round of upTo(4)) {
            const again = await opened(disk)
            await assert.rejects(append(again, long(100, 200), ['eve'], roomy), { code: 'id-reused' }, scene)
            assert.deepEqual(await waiting(again, 'bob'), [1, 3], scene)
            assert.deepEqual(await waiting(again, 'eve'), [2, 3], scene)
            assert.equal((await again.levels())[0]?.messages, 3, scene)
            await churn(again, 2_000 + 100 * round, 5)
            await again.close()
          }
        }
      }
    }
    assert.ok(partial > 0, 'no process died after it had copied a message')
  })
})

/** Returns the disk of a process that died by the last of these fates. It moves the first messages in one of six appends. */
async function moved(fates: readonly Fate[]): Promise<MemoryJournal> {
  const disk = newDisk()
  const first = await opened(disk)
  for (const number of upTo(3)) await append(first, message(number), ['bob', 'eve'], roomy)
  await first.setAside('bob', [2])
  await first.remove('eve', [1])
  await churn(first, 100, 18)
  await first.close()
  const journal = new BrittleJournal(disk)
  journal.fates.push(...fates)
  void churn(await opened(journal), 1_000, 6)
  await journal.death
  return disk
}

/** Returns the number of records of a message. */
const copiesOf = (seq: number, { segments }: MemoryJournal) =>
  segments
    .flatMap(({ records }) => records)
    .filter((record) => record[0] === recordKinds.message && seqOf(record) === seq).length
