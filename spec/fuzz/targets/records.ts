import assert from 'node:assert/strict'
import { partialName } from '../../../lib/adapters/disk/layout.ts'
import { MemoryFiles } from '../../../lib/adapters/memory/memoryFiles.ts'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Claimed, StoredFile, TransferRecord } from '../../../lib/ports/storage.ts'
import { RecordStore } from '../../../lib/storage/transfers/recordStore.ts'
import { type CompletionMarker, type Row, writeRow } from '../../../lib/storage/transfers/rows.ts'
import { Transfers } from '../../../lib/storage/transfers/transfers.ts'
import { UploadLog } from '../../../lib/storage/transfers/uploadLog.ts'
import { fileOf, hello, owner, resume, start, takeOver, wanted } from '../../../lib/testing/storage/steps.ts'
import { coded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { jsonLike } from '../json.ts'
import { mutated } from '../mutate.ts'
import { type Pieces, plainTarget } from '../target.ts'

const at = 1_000_000
const platform = nodePlatform()

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
const note: CompletionMarker = {
  file: fileOf(),
  modifiedAt: wanted.modifiedAt,
  until: at + 5,
  stamp: '1',
  reported: false,
}

/** A record store on arbitrary contents: it opens, and every call ends as documented. */
export const recordsTarget = plainTarget({ make, run })

/** Rows, some of them damaged. */
function make(draw: Draw): Pieces {
  return draw.some(1, 5, () => {
    const name = draw.pick(['a', 'a', 'b', 'a/b', '../a', ''])
    const subject = { user: 'alice', name }
    const row = draw.pick<() => Row>([
      () => ({ kind: 'record', value: draw.pick([record, unfinished].map((each) => ({ ...each, name }))) }),
      () => ({ kind: draw.pick(['completed', 'note'] as const), value: { ...note, file: { ...note.file, name } } }),
      () => ({ kind: draw.pick(['removed', 'reported', 'forgotten'] as const), value: subject }),
    ])
    const bytes = writeRow(row())
    return draw.once(6) ? mutated(bytes, draw) : jsonLike(JSON.parse(bytes.toString()), draw)
  })
}

async function run(pieces: Pieces): Promise<void> {
  const journal = new MemoryJournal(400, { capacity: 1_000_000 })
  for (const piece of pieces) if (piece.length > 0) await journal.append([Buffer.from(piece)])
  const book = new RecordStore()
  const files = new MemoryFiles(book, () => platform.digests, { capacity: 1_000 })
  const transfers = new Transfers(book, files, () => at)
  const log = await UploadLog.open(journal, platform, 3)
  await book.open(log)
  // The disk looks for the partial file of each.
  for (const { user, name } of log.records()) partialName(user, name)
  const listed = await listedBy(transfers)
  for (const { user, name } of listed) await coded(() => transfers.expire(user, name, at + 1), 'bad-name')
  await coded(() => transfers.completed(wanted))
  for (const options of [resume, takeOver, start]) {
    const codes = ['superseded', 'name-conflict', 'file-busy'] as const
    const claimed = await coded(() => transfers.claim(wanted, owner(2), options), ...codes)
    if (claimed) await carryOn(transfers, files, claimed)
  }
  // A stored file is forgotten only after it was reported.
  await transfers.reported([{ user: 'alice', name: 'a' }])
  await transfers.forget(wanted, fileOf().digest)
  await transfers.remove('alice', 'a')
  assert.ok((await listedBy(transfers)).every(({ name }) => name !== 'a'))
}

/** Checks that a granted upload can be completed. */
async function carryOn(transfers: Transfers, files: MemoryFiles, claimed: Claimed): Promise<void> {
  // A verified upload may be published: there is nothing to write then.
  if (!('claim' in claimed) || claimed.record.verified) return
  const { claim } = claimed
  await transfers.checkpoint(claim, [{ offset: 1, digest: Uint8Array.of(1) }], at)
  const [kept] = (await listedBy(transfers)).filter(({ user, name }) => user === 'alice' && name === 'a')
  assert.equal(kept?.token, claim.token)
  await using file = await files.open(claim)
  // Data of an earlier claim is not checked here.
  await file.truncate(0)
  await file.write(0, [hello])
  const stored: StoredFile = fileOf()
  // A stored file is replaced only after it was reported.
  await transfers.reported([stored])
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
