import assert from 'node:assert/strict'
import { Layout } from '../../../lib/adapters/disk/layout.ts'
import { MemoryFiles } from '../../../lib/adapters/memory/memoryFiles.ts'
import { MemoryShelf } from '../../../lib/adapters/memory/memoryShelf.ts'
import { Book } from '../../../lib/adapters/records/book.ts'
import { expiryKey, noteKey, recordKey } from '../../../lib/adapters/records/keys.ts'
import { writeNote, writeRecord } from '../../../lib/adapters/records/rows.ts'
import { Transfers } from '../../../lib/adapters/records/transfers.ts'
import { fileOf, hello, owner, resume, start, takeOver, wanted } from '../../../lib/contract/storage/steps.ts'
import type { Claimed, StoredFile, TransferRecord } from '../../../lib/ports/storage.ts'
import { coded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { jsonLike } from '../json.ts'
import { mutated } from '../mutate.ts'
import { type Pieces, plainTarget } from '../target.ts'

const at = 1_000_000
const layout = new Layout('/data')

const record: TransferRecord = {
  ...wanted,
  token: 3,
  owner: owner(1),
  superseded: [owner(2).session],
  checkpoints: [{ offset: 3, digest: Uint8Array.of(1, 2) }],
  verified: fileOf(),
  updatedAt: at,
}
const { verified: _, ...unfinished } = record
const note = { file: fileOf(), modifiedAt: wanted.modifiedAt, until: at + 5, stamp: '1' }

/** What a store of records finds: whatever lies there, it opens, and every call ends as it says. */
export const recordsTarget = plainTarget({ make, run })

/** Keys and texts, in turn. */
function make(draw: Draw): Pieces {
  return draw
    .some(1, 5, () => {
      const name = draw.pick(['a', 'a', 'b', 'a/b', '../a', ''])
      const texts = [
        { ...record, name },
        { ...unfinished, name },
      ]
      const entry = draw.pick<() => readonly [string, unknown]>([
        () => [recordKey('alice', name), JSON.parse(writeRecord(draw.pick(texts)))],
        () => [noteKey('alice', name), JSON.parse(writeNote(note))],
        () => [expiryKey(draw.pick([0, at, at + 5]), 'alice', name), ''],
      ])
      const [key, value] = entry()
      const bytes = Buffer.from(key)
      return [draw.once(6) ? mutated(bytes, draw) : bytes, value === '' ? bytes.subarray(0, 0) : jsonLike(value, draw)]
    })
    .flat()
}

async function run(pieces: Pieces): Promise<void> {
  const shelf = new MemoryShelf()
  const texts = pieces.map((piece) => Buffer.from(piece).toString('utf8'))
  for (let index = 0; index < texts.length; index += 2) {
    await shelf.write([{ key: texts[index] ?? '', value: texts[index + 1] ?? '' }])
  }
  const book = new Book()
  const files = new MemoryFiles(book, 1_000, () => false)
  const transfers = new Transfers(book, files, () => at)
  const found: TransferRecord[] = []
  // The disk looks for the partial file of each.
  await book.open(shelf, (each) => found.push({ ...each, name: each.name && layout.partialName(each.user, each.name) }))
  const listed = await listedBy(transfers)
  assert.equal(listed.length, found.length)
  for (const { user, name } of listed) await coded(() => transfers.expire(user, name, at + 1), 'bad-name')
  await coded(() => transfers.completed(wanted))
  for (const options of [resume, takeOver, start]) {
    const claimed = await coded(() => transfers.claim(wanted, owner(2), options), 'superseded', 'name-conflict')
    if (claimed) await carryOn(transfers, files, claimed)
  }
  await transfers.forget('alice', 'a')
  await transfers.remove('alice', 'a')
  assert.ok((await listedBy(transfers)).every(({ name }) => name !== 'a'))
}

/** What is granted can be worked on to its end. */
async function carryOn(transfers: Transfers, files: MemoryFiles, claimed: Claimed): Promise<void> {
  // What is verified already may be published: there is nothing to write then.
  if (!('claim' in claimed) || claimed.record.verified) return
  const { claim } = claimed
  await transfers.checkpoint(claim, [{ offset: 1, digest: Uint8Array.of(1) }], at)
  const [kept] = (await listedBy(transfers)).filter(({ user, name }) => user === 'alice' && name === 'a')
  assert.equal(kept?.token, claim.token)
  await using file = await files.open(claim)
  // What an earlier claim has left is not looked at here.
  await file.truncate(0)
  await file.write(0, [hello])
  const stored: StoredFile = fileOf()
  await transfers.verified(claim, stored)
  await file.publish(stored.storedName, true)
  await transfers.complete(claim, 10)
  assert.deepEqual(await transfers.completed(wanted), stored)
}

async function listedBy(transfers: Transfers): Promise<TransferRecord[]> {
  const records: TransferRecord[] = []
  for await (const each of transfers.records()) records.push(each)
  return records
}
