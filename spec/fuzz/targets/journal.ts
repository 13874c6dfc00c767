import assert from 'node:assert/strict'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DiskJournal } from '../../../lib/adapters/disk/journal.ts'
import { JournalFormat, journalHeaderBytes } from '../../../lib/adapters/disk/journalFormat.ts'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Journal } from '../../../lib/storage/journal/journal.ts'
import { Mailboxes } from '../../../lib/storage/mailboxes/mailboxes.ts'
import { writeIds, writeMessage, writeSeqs, writeTime } from '../../../lib/storage/mailboxes/records.ts'
import { append, message, messageNumbersOf, roomy } from '../../../lib/testing/storage/mailSteps.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'
import { coded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { mutated } from '../mutate.ts'
import type { Pieces, Target } from '../target.ts'

const platform = nodePlatform()
const format = new JournalFormat(platform.crc32)
const kinds = { segments: 1, records: 2 } as const
const seed = 0x5eed_5eed

/** A message journal on a disk that returns arbitrary data: bytes of its segments, and records with a correct CRC. */
export async function journalTarget(): Promise<Target> {
  const directory = await temporaryDirectory()
  return {
    make,
    run: ([[kind = 0] = [], ...pieces]) =>
      kind === kinds.segments ? readSegments(directory.path, pieces) : replayRecords(pieces),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
}

function make(draw: Draw): Pieces {
  // Files take time, so of most cases only the records are read.
  if (!draw.once(8)) return [Uint8Array.of(kinds.records), ...records(draw, 2)]
  const segments = draw.some(1, 3, () => {
    const groups = draw.some(0, 4, () => format.frame(records(draw, 1_000).map(Buffer.from), seed).bytes)
    const bytes = Buffer.concat([format.header(seed), ...groups])
    return draw.once(4) ? bytes : mutated(bytes, draw)
  })
  return [Uint8Array.of(kinds.segments), ...segments]
}

/** One in this many cases is damaged. */
function records(draw: Draw, inSoMany: number): Uint8Array[] {
  return draw.some(1, 5, () => {
    const record = anyRecord(draw)
    return draw.once(inSoMany) ? mutated(record, draw) : record
  })
}

function anyRecord(draw: Draw): Buffer {
  const seqs = draw.some(0, 3, () => draw.from(1, 6))
  const user = draw.pick(['bob', 'carol'])
  const times = [0, 1, 3, 10]
  const kind = draw.pick<() => Buffer>([
    () => written(draw),
    () => written(draw),
    () => writeSeqs(draw.pick(['removed', 'aside'] as const), { user, seqs }),
    () =>
      writeIds(
        'alice',
        draw.some(0, 2, () => ({ key: 'k'.repeat(16), fingerprint: 1, storedAt: draw.pick(times) })),
      ),
    () =>
      writeTime({
        now: draw.pick(times),
        lastSeq: draw.from(0, 9),
        messagesBefore: draw.pick(times),
        idsBefore: draw.pick(times),
      }),
  ])
  return kind()
}

function written(draw: Draw): Buffer {
  const number = draw.from(1, 6)
  const recipients = draw.some(0, 2, () => draw.pick(['bob', 'carol']))
  return writeMessage(number, message(number), recipients, () => draw.below(3))
}

/** Checks that intact records are found again, that damage is reported, and that appended records remain. */
async function readSegments(directory: string, segments: Pieces): Promise<void> {
  for (const [at, bytes] of segments.entries()) {
    assertCovered(Buffer.from(bytes))
    await writeFile(join(directory, `${String(at + 1).padStart(8, '0')}.log`), bytes)
  }
  try {
    const open = async () => await DiskJournal.open(directory, 4_096, platform)
    const appended = await coded(async () => goOn(await open(), 1), 'data-format')
    // A journal that was opened once opens again, with the appended records.
    if (appended) await goOn(await open(), 2)
  } finally {
    for (const name of await readdir(directory)) await rm(join(directory, name))
  }
}

/** Checks that the frames of a segment follow each other from the header to the end. */
function assertCovered(bytes: Buffer): void {
  let at = journalHeaderBytes
  for (const frame of format.frames(bytes, journalHeaderBytes, seed)) {
    assert.equal(frame.at, at)
    assert.ok(frame.end > frame.at && frame.end <= bytes.length)
    at = frame.end
  }
  assert.equal(at, Math.max(journalHeaderBytes, bytes.length))
}

async function replayRecords(pieces: Pieces): Promise<void> {
  const journal = new MemoryJournal(400, { capacity: 1_000_000 })
  for (const piece of pieces) if (piece.length > 0) await journal.append([Buffer.from(piece)])
  if (await coded(() => goOn(journal, 1), 'data-format')) await goOn(journal, 2)
}

/** Opens mailboxes and uses them; resolves with true. Messages of the first round exist in the second. */
async function goOn(journal: Journal, round: 1 | 2): Promise<boolean> {
  const mailboxes = new Mailboxes()
  await mailboxes.open(journal, platform)
  try {
    for (const user of ['bob', 'carol', 'dave']) await mailboxes.read(user, 0, 100, 100_000)
    // No later time occurs in the journal, so that no message has reached its age limit.
    await append(mailboxes, message(100 + round, { storedAt: 2 ** 52 }), ['dave'], roomy)
    const found = messageNumbersOf(await mailboxes.read('dave', 0, 100, 100_000))
    assert.deepEqual(found.slice(-round), [101, 102].slice(0, round))
    const levels = await mailboxes.levels()
    assert.ok(levels.every(({ messages, bytes }) => messages > 0 && bytes >= 0))
    await mailboxes.setAside('bob', [1])
    await mailboxes.remove('carol', [1, 2])
    await mailboxes.damages()
    return true
  } finally {
    await mailboxes.close()
  }
}
