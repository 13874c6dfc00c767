import assert from 'node:assert/strict'
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'

/** So small that messages fill many files. */
const segmentBytes = 2_048
const texts = Array.from({ length: 40 }, (_, at) => `message ${at};`.padEnd(100, '.'))

/** A place in the message journal. */
interface Spot {
  readonly file: string
  readonly offset: number
}

/** A data directory with waiting messages for bob and carol, each stored separately. */
async function filled(): Promise<MortalServer> {
  const place = await MortalServer.in()
  const server = await place.serve({ storage: disk(place.data, { segmentBytes }) })
  const alice = place.client()
  for (const text of texts) await alice.send(['bob', 'carol'], text)
  await alice.close()
  await server.close()
  return place
}

/** The files of the journal, oldest first. */
async function files({ data }: MortalServer): Promise<string[]> {
  const { mailboxes } = layoutOf(data)
  return (await readdir(mailboxes)).sort().map((name) => join(mailboxes, name))
}

/** Returns the place where the content of a message begins. */
async function spotOf(place: MortalServer, number: number): Promise<Spot> {
  for (const file of await files(place)) {
    const offset = (await readFile(file)).indexOf(`message ${number};`)
    if (offset >= 0) return { file, offset }
  }
  throw new Error(`message ${number} is not in the journal`)
}

async function change({ file, offset }: Spot, by: (bytes: Buffer) => void): Promise<void> {
  const bytes = await readFile(file)
  by(bytes.subarray(offset))
  await writeFile(file, bytes)
}

const flip = (bytes: Buffer) => {
  bytes[0] = (bytes[0] ?? 0) ^ 1
}

const damages = (log: readonly LogEntry[]) => log.filter(({ event }) => event === 'mailboxes-damaged')

/** Checks that one damage is logged, at `spot`. */
function assertLogged(log: readonly LogEntry[], spot: Spot): void {
  const [damage, ...more] = damages(log)
  assert.ok(damage, 'no damage was logged')
  assert.deepEqual([damage.level, damage.file, more], ['error', spot.file, []])
  const [offset, bytes] = [Number(damage.offset), Number(damage.bytes)]
  assert.ok(offset <= spot.offset && spot.offset < offset + bytes, `${offset} and ${bytes} bytes, not ${spot.offset}`)
}

/**
 * Serves the directory; resolves with the log when bob and carol have all messages except the lost ones, in order, and
 * another one.
 */
async function deliversAllBut(place: MortalServer, lost: readonly number[]): Promise<LogEntry[]> {
  const log: LogEntry[] = []
  const storage = disk(place.data, { segmentBytes })
  const server = await place.serve({ storage, log: (entry) => log.push(entry) })
  const recipients = ['bob', 'carol'].map((user) => new Recipient(place.client({ user })))
  const alice = place.client()
  await alice.send(['bob', 'carol'], 'last')
  for (const recipient of recipients) {
    await recipient.got('last')
    assert.deepEqual(recipient.texts, [...texts.filter((_, at) => !lost.includes(at)), 'last'])
  }
  for (const client of [alice, ...recipients.map(({ client }) => client)]) await client.close()
  await server.close()
  return log
}

const damaged =
  (lost: readonly number[], where: (place: MortalServer) => Promise<Spot>, by: (bytes: Buffer) => void) => async () => {
    await using place = await filled()
    const spot = await where(place)
    await change(spot, by)
    assertLogged(await deliversAllBut(place, lost), spot)
  }

spec('damage of the message journal is logged, and all other messages are delivered', (it) => {
  it(
    'in a byte of a message',
    damaged([7], (place) => spotOf(place, 7), flip),
  )
  it(
    'in a byte of the last message but one',
    damaged([38], (place) => spotOf(place, 38), flip),
  )
  it(
    'in the length of a record',
    damaged(
      [20],
      async (place) => {
        const { file, offset } = await spotOf(place, 19)
        // After the content before it there are a CRC and the length.
        return { file, offset: offset + 100 + 4 }
      },
      (bytes) => bytes.writeUInt32BE(0xffff_ffff),
    ),
  )
  it(
    'in several messages, which are filled with zeros',
    damaged(
      [22, 23],
      (place) => spotOf(place, 22),
      (bytes) => bytes.fill(0, 0, 200),
    ),
  )

  it('in the header of a file', async () => {
    await using place = await filled()
    const spots = await Promise.all(texts.map((_, number) => spotOf(place, number)))
    const file = spots[20]?.file ?? ''
    const lost = spots.flatMap((spot, number) => (spot.file === file ? [number] : []))
    assert.ok(lost.length < texts.length / 2)
    await change({ file, offset: 0 }, (bytes) => bytes.fill(0, 0, 32))
    assertLogged(await deliversAllBut(place, lost), { file, offset: 0 })
  })

  it('if it is read while a server runs', async () => {
    await using place = await filled()
    const log: LogEntry[] = []
    const storage = disk(place.data, { segmentBytes })
    await place.serve({ storage, log: (entry) => log.push(entry) })
    const spot = await spotOf(place, 7)
    await change(spot, flip)
    const bob = new Recipient(place.client({ user: 'bob' }))
    await bob.got(texts.at(-1) ?? '')
    assert.deepEqual(
      bob.texts,
      texts.filter((_, at) => at !== 7),
    )
    assertLogged(log, spot)
  })

  it('also by the daemon', async () => {
    await using place = await filled()
    const spot = await spotOf(place, 7)
    await change(spot, flip)
    const daemon = await place.daemon()
    const [, offset] = await daemon.printed(
      new RegExp(`error mailboxes-damaged file=${spot.file} offset=(\\d+) bytes=\\d+`, 'u'),
    )
    assert.ok(Number(offset) < spot.offset)
  })
})

spec('a message journal whose end is incomplete, as after a power failure', (it) => {
  it('keeps everything before, and accepts that message when it is sent again', async () => {
    await using place = await filled()
    const { file, offset } = await spotOf(place, 39)
    await truncate(file, offset + 50)
    const log = await deliversAllBut(place, [39])
    const [cut, ...more] = log.filter(({ event }) => event === 'mailboxes-cut')
    assert.deepEqual([cut?.level, cut?.file, more], ['warn', file, []])
    assert.equal(Number(cut?.offset) + Number(cut?.bytes), offset + 50)
  })

  it('and filled with zeros keeps everything before', async () => {
    await using place = await filled()
    await change(await spotOf(place, 39), (bytes) => bytes.fill(0))
    await deliversAllBut(place, [39])
  })
})
