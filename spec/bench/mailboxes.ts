/**
 * `node --import tsx spec/bench/mailboxes.ts [DIRECTORY]`: number of messages of 100 bytes per second that a mailbox
 * store on disk accepts durably, and removes, compared with a plain write of 4 KiB and its fdatasync in the same
 * directory.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { MailboxBounds, MailboxStore } from '../../lib/ports/mailboxes.ts'

const base = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'ospd-bench-'))
const rounds = Number(process.env.ROUNDS ?? 3)
const seconds = Number(process.env.SECONDS ?? 1)
const users = Array.from({ length: 100 }, (_, index) => `user-${index}`)
const content = Buffer.alloc(100, 'x')
const bounds: MailboxBounds = {
  messages: Number.MAX_SAFE_INTEGER,
  bytes: Number.MAX_SAFE_INTEGER,
  allMessages: Number.MAX_SAFE_INTEGER,
  allBytes: Number.MAX_SAFE_INTEGER,
  receipts: 1_000,
  senderIds: Number.MAX_SAFE_INTEGER,
  allIds: Number.MAX_SAFE_INTEGER,
  sharePercent: 100,
  reserveBytes: 0,
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
const perSecond = (count: number, since: number) => Math.round(count / ((performance.now() - since) / 1_000))

/** Milliseconds of a plain durable write. */
async function bareFlush(): Promise<number> {
  const handle = await open(join(base, 'bare'), 'w')
  const bytes = Buffer.alloc(4_096, 1)
  const times: number[] = []
  for (let round = 0; round < 500; round++) {
    const since = performance.now()
    await handle.write(bytes, 0, bytes.length, round * bytes.length)
    await handle.datasync()
    times.push(performance.now() - since)
  }
  await handle.close()
  return median(times)
}

let sent = 0

function newId(): Uint8Array {
  const id = Buffer.alloc(16)
  id.writeDoubleBE(++sent, 8)
  return id
}

/**
 * Appends for a while, this many at once, each for this many recipients; prints the number, and the number per second.
 */
async function append(mailboxes: MailboxStore, atOnce: number, recipients: number): Promise<[number, number]> {
  const since = performance.now()
  let count = 0
  const one = async (sender: number) => {
    while (performance.now() - since < seconds * 1_000) {
      const to = Array.from({ length: recipients }, (_, index) => users[(sender + index) % users.length] ?? '')
      const from = users[sender % users.length] ?? ''
      const message = { sender: from, id: newId(), sentAt: sent, storedAt: sent, content, recipients: to }
      await mailboxes.append([message], bounds)
      count++
    }
  }
  await Promise.all(Array.from({ length: atOnce }, (_, sender) => one(sender)))
  return [count, perSecond(count, since)]
}

/**
 * Reads and removes all messages, in pages of 32 for all users at once; prints the number of mailbox entries per
 * second.
 */
async function drain(mailboxes: MailboxStore): Promise<number> {
  const since = performance.now()
  let count = 0
  const one = async (user: string) => {
    for (;;) {
      const page = await mailboxes.read(user, 0, 32, 262_144)
      if (page.length === 0) return
      count += page.length
      await mailboxes.remove(
        user,
        page.map(({ seq }) => seq),
      )
    }
  }
  await Promise.all(users.map(one))
  return perSecond(count, since)
}

try {
  console.log(`in ${base}: a bare write of 4 KiB and its fdatasync takes ${(await bareFlush()).toFixed(3)} ms`)
  console.log('recipients  unanswered  appends/s  deliveries read and removed/s')
  for (const recipients of [1, 16]) {
    for (const atOnce of [1, 32, 100, 256]) {
      const appends: number[] = []
      const drains: number[] = []
      for (let round = 0; round < rounds; round++) {
        const data = join(base, `${recipients}-${atOnce}-${round}`)
        const storage = disk(data)
        await storage.open(nodePlatform())
        appends.push((await append(storage.mailboxes, atOnce, recipients))[1])
        drains.push(await drain(storage.mailboxes))
        await storage[Symbol.asyncDispose]()
        rmSync(data, { recursive: true })
      }
      const columns = [
        [recipients, 10],
        [atOnce, 12],
        [median(appends), 11],
        [median(drains), 31],
      ] as const
      console.log(columns.map(([value, width]) => String(value).padStart(width)).join(''))
    }
  }
  console.log(`a bare write and its fdatasync now takes ${(await bareFlush()).toFixed(3)} ms`)
} finally {
  rmSync(base, { recursive: true, force: true })
}
