import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import type { BrittlePlace, StorageKind } from '../../../lib/testing.ts'
import { failingFlushes } from '../../support/failingFlushes.ts'

/** Creates a directory, which is removed with its content. */
export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string
}

export async function temporaryDirectory(): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(tmpdir(), 'ospd-spec-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** Mounts a disk of this size, in bytes. */
export async function smallDisk(bytes: number): Promise<TemporaryDirectory> {
  const directory = await temporaryDirectory()
  try {
    run('mount', '-t', 'tmpfs', '-o', `size=${bytes},mode=700`, 'tmpfs', directory.path)
  } catch (error) {
    await directory[Symbol.asyncDispose]()
    throw error
  }
  return {
    path: directory.path,
    async [Symbol.asyncDispose]() {
      // Lazy, since the system can still be closing the files of a process that has ended.
      run('umount', '-l', directory.path)
      await directory[Symbol.asyncDispose]()
    },
  }
}

/** Whether this process can mount a disk. Tried once. */
export const canMount: boolean = await smallDisk(4_096).then(
  async (directory) => {
    await directory[Symbol.asyncDispose]()
    return true
  },
  () => false,
)

/** Small, so that the messages are in many segments. */
const segmentBytes = 1_024

/** The storage in memory. */
export const memoryKind: StorageKind = {
  name: 'memory',
  location: async () => memoryPlace(),
  smallLocation: async (capacityBytes) => memoryPlace(capacityBytes),
  failingLocation: async () => memoryPlace(),
}

/** The storage in a directory. */
export const diskKind: StorageKind = {
  name: 'disk',
  location: async () => diskPlace(await temporaryDirectory()),
  failingLocation: async () => diskPlace(await temporaryDirectory()),
  ...(canMount ? { smallLocation: async (bytes: number) => diskPlace(await smallDisk(bytes)) } : {}),
}

function memoryPlace(capacityBytes?: number): BrittlePlace {
  let failing = false
  const flushFails = () => failing
  const storage = memory({ flushFails, segmentBytes, ...(capacityBytes === undefined ? {} : { capacityBytes }) })
  return {
    storage: () => storage,
    async failFlushes() {
      failing = true
      return {
        [Symbol.dispose]: () => {
          failing = false
        },
      }
    },
    read: async (user, storedName) => storage.read(user, storedName),
    async [Symbol.asyncDispose]() {},
  }
}

function diskPlace(directory: TemporaryDirectory): BrittlePlace {
  const data = join(directory.path, 'data')
  return {
    storage: () => disk(data, { segmentBytes }),
    failFlushes: () => failingFlushes(directory.path, () => true),
    async read(user, storedName) {
      const path = join(data, 'files', user, storedName)
      return readFile(path).then(
        (bytes) => Uint8Array.from(bytes),
        () => undefined,
      )
    },
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
}

function run(command: string, ...args: string[]): void {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw error ?? new Error(`${command} failed: ${stderr}`)
}
