import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DiskJournal } from '../../../lib/adapters/disk/journal.ts'
import { JournalFormat, type JournalFrame, journalHeaderBytes } from '../../../lib/adapters/disk/journalFormat.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Damage } from '../../../lib/ports/mailboxes.ts'
import { Mailboxes } from '../../../lib/storage/mailboxes/mailboxes.ts'
import { waiting } from '../../../lib/testing/storage/mailSteps.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'

export const format = new JournalFormat(nodePlatform().crc32)

/** Runs `work` with the mailboxes in a directory. */
export async function withMailboxes<T>(
  directory: string,
  work: (mailboxes: Mailboxes, journal: DiskJournal) => Promise<T>,
  segmentBytes = 1_000_000,
): Promise<T> {
  const mailboxes = new Mailboxes()
  const journal = await DiskJournal.open(directory, segmentBytes, nodePlatform())
  await mailboxes.open(journal, nodePlatform())
  try {
    return await work(mailboxes, journal)
  } finally {
    await mailboxes.close()
  }
}

/** Opens the mailboxes. Returns the messages of bob, and the damage elsewhere than at the end. */
export function found(directory: string): Promise<{ readonly numbers: number[]; readonly damages: readonly Damage[] }> {
  return withMailboxes(directory, async (mailboxes) => ({
    numbers: await waiting(mailboxes, 'bob'),
    damages: (await mailboxes.damages()).filter(({ atEnd }) => !atEnd),
  }))
}

/** Returns the paths of the segments, the oldest first. */
export async function segmentsOf(directory: string): Promise<string[]> {
  return (await readdir(directory)).sort().map((name) => join(directory, name))
}

/** Returns the bytes and the frames of a segment. */
export async function look(
  path: string,
): Promise<{ readonly bytes: Buffer; readonly frames: readonly JournalFrame[] }> {
  const bytes = await readFile(path)
  return { bytes, frames: [...format.frames(bytes, journalHeaderBytes, format.seedOf(bytes) ?? 0)] }
}

/** Returns a copy of the bytes with one bit changed. */
export function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 0x10
  return copy
}

/** Returns a new directory with this segment only. */
export async function journalOf(bytes: Uint8Array): Promise<{ readonly path: string } & AsyncDisposable> {
  const directory = await temporaryDirectory()
  await writeFile(join(directory.path, '00000001.log'), bytes)
  return directory
}

/** Returns a test that runs `proof` with a directory for a journal. */
export const withDirectory = (proof: (directory: string) => Promise<void>) => async (): Promise<void> => {
  await using directory = await temporaryDirectory()
  await proof(directory.path)
}
