import assert from 'node:assert/strict'
import type { Client } from '../../lib/client/client.ts'
import type { Upload } from '../../lib/client/uploads/upload.ts'
import { KiB } from '../../lib/limits.ts'
import type { OnConflict } from '../../lib/ports/storage.ts'
import type { Kill } from './killableServer.ts'
import { memorySource, patterned } from './memorySource.ts'
import { MortalServer } from './mortalServer.ts'
import type { Running } from './processes.ts'
import { type Injection, injecting } from './strace.ts'

/** Long enough for several checkpoints and many chunks. */
const long: Uint8Array = patterned(41_000)
/** Short enough not to be flushed before it is complete. */
export const short: Uint8Array = patterned(5_000, 2)
const older = patterned(3_000, 3)

const limits = {
  chunkBytes: 4 * KiB,
  windowBytes: 16 * KiB,
  checkpointBytes: 8 * KiB,
  checkpointMs: 3_600_000,
  retryAfterMs: 1,
}
const flags = ['--chunk', '4K', '--window', '16K', '--checkpoint-size', '8K', '--checkpoint-time', '1h']

/** Starts a server that will be killed while it receives `folder/a`. */
export type StartDoomedServer = (place: MortalServer, onConflict: OnConflict) => Promise<Running>

export const dying =
  (at: Kill['at'], when: Kill['when'], nth = 1, smallFileBytes = 0): StartDoomedServer =>
  (place, onConflict) =>
    place.killable({ kill: { at, when, nth }, limits: { ...limits, smallFileBytes }, onConflict })

/** Starts a daemon that is killed when it enters a system call. */
export const dyingIn =
  (calls: string, paths: (data: string) => readonly string[], when = '1'): StartDoomedServer =>
  (place, onConflict) => {
    const fault: Injection = { calls, fault: 'signal=SIGKILL', when, paths: paths(place.data) }
    return place.daemon([...flags, '--on-conflict', onConflict], injecting(fault))
  }

export interface Plan {
  readonly bytes?: Uint8Array
  readonly onConflict?: OnConflict
  /** Whether a file of that name is already stored. */
  readonly taken?: boolean
  /** Whether the client ends with the server, and another one sends the file again. */
  readonly again?: boolean
  /** Larger files are sent in chunks. */
  readonly smallFileBytes?: number
}

/**
 * Sends a file to servers that are killed, one after another, and then to one that keeps running. Fails unless the file
 * is stored once and completely, its client reports success once, and nothing is left over.
 */
export const survives =
  (
    doomed: readonly StartDoomedServer[],
    { bytes = long, onConflict = 'replace', taken = false, again = false, smallFileBytes = 0 }: Plan = {},
  ) =>
  async (): Promise<void> => {
    await using place = await MortalServer.in()
    const expected = new Map<string, Uint8Array>()
    if (taken) await storeOlder(place, expected)

    let task = await send(place, bytes)
    for (const start of doomed) {
      const server = await start(place, onConflict)
      const { code, signal } = await server.ended
      assert.equal(signal, 'SIGKILL', `it ended with ${code}: ${server.stderr}`)
      await assertWhole(place, expected, bytes)
    }
    if (again) {
      await task.client.close()
      task = await send(place, bytes)
    }
    const server = await place.serve({ limits: { ...limits, smallFileBytes }, onConflict })
    const { storedName } = await task.upload.done
    expected.set(`alice/${storedName}`, bytes)
    await assertRemembered(place, bytes, storedName, smallFileBytes > 0 ? bytes.length : 0)
    await task.client.close()
    await server.close()

    assert.equal(task.successes(), 1, 'the client reported success more than once, or never')
    assert.equal(storedName, taken && onConflict === 'rename' ? 'folder/a (1)' : 'folder/a')
    assert.deepEqual(await place.files(), expected)
    assert.deepEqual(await place.files('partial'), new Map())
    assert.deepEqual(await place.records(), [])
  }

interface Task {
  readonly client: Client
  readonly upload: Upload
  readonly successes: () => number
}

async function send(place: MortalServer, bytes: Uint8Array, modifiedAt?: number): Promise<Task> {
  const client = place.client()
  const upload = await client.upload(memorySource('folder/a', bytes, modifiedAt))
  let successes = 0
  upload.on('phase', (phase) => {
    if (phase === 'done') successes++
  })
  return { client, upload, successes: () => successes }
}

async function storeOlder(place: MortalServer, expected: Map<string, Uint8Array>): Promise<void> {
  const server = await place.serve()
  const { client, upload } = await send(place, older, 1)
  await upload.done
  await client.close()
  await server.close()
  expected.set('alice/folder/a', older)
}

/** Fails unless the earlier file still exists and the new one exists at most once. */
async function assertWhole(place: MortalServer, before: ReadonlyMap<string, Uint8Array>, bytes: Uint8Array) {
  const files = await place.files()
  for (const [name, content] of files) {
    const known = [bytes, before.get(name)].some((whole) => whole && Buffer.compare(whole, content) === 0)
    assert.ok(known, `${name} is neither the earlier file nor the new one`)
  }
  for (const name of before.keys()) assert.ok(files.has(name), `${name} is gone`)
  assert.ok(files.size <= before.size + 1, `there are more files than were sent: ${[...files.keys()]}`)
}

/** Sends the file once more: it is not stored a second time, and costs no bytes, or one request. */
async function assertRemembered(
  place: MortalServer,
  bytes: Uint8Array,
  storedName: string,
  transferred: number,
): Promise<void> {
  const { client, upload } = await send(place, bytes)
  assert.equal((await upload.done).storedName, storedName)
  assert.equal(upload.transferred, transferred)
  await client.close()
}
