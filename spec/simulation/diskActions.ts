import type { SeededRandom } from '../support/random.ts'
import type { Action } from './action.ts'
import type { SimulatedDisk } from './disk.ts'
import { operations } from './diskFaults.ts'
import type { SimulatedFile } from './files.ts'
import type { Machine } from './process.ts'
import type { Trace } from './trace.ts'

/** The parts of a world that these actions use. */
export interface DiskParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly disk: SimulatedDisk
  readonly files: readonly SimulatedFile[]
  readonly dice: SeededRandom
}

/** Actions on the disk of the server. */
export const diskActions: readonly Action<DiskParts>[] = [
  { name: 'the disk is full', weight: 1, toDisk: true, apply: fill },
  ...operations.map((operation) => ({
    name: `the disk fails: ${operation}`,
    weight: 1,
    toDisk: true,
    apply: (parts: DiskParts) => fail(parts, operation),
  })),
  { name: 'bits flip', weight: 3, toDisk: true, apply: rot },
  { name: 'bits of a record flip', weight: 2, toDisk: true, apply: rotRecord },
]

/** The disk is full for a while. */
function fill(parts: DiskParts): boolean {
  const { disk, machine, dice } = parts
  if (disk.faults.freeBytes === 0) return false
  const ms = dice.integer(10, 20_000, 'time that the disk is full')
  parts.trace.tell(`the disk is full: ${ms} ms`)
  disk.faults.fill()
  machine.time.alarm(machine.time.now() + ms, () => disk.faults.empty())
  return true
}

function fail(parts: DiskParts, operation: (typeof operations)[number]): boolean {
  if (parts.files.length === 0) return false
  const times = parts.dice.integer(1, 3, 'operations that fail')
  parts.trace.tell(`the disk fails ${times} times: ${operation}`)
  parts.disk.faults.fail(operation, times)
  return true
}

/** Flips bits in partial files that no process has open; the next process that opens them reads the bits. */
function rot(parts: DiskParts): boolean {
  const { disk, dice } = parts
  const resting = [...disk.partial].filter(([, { isOpen, written }]) => !isOpen && written.length > 0)
  if (resting.length === 0) return false
  const [key, image] = dice.pick(resting, 'a partial file')
  parts.trace.tell(`a bit of ${key.split('\0').join('/')} flips`)
  disk.faults.rotten.add(key)
  image.rot(dice)
  return true
}

/** The flipped row is lost at the next read, unless it was replaced before. The server logs the loss. */
function rotRecord(parts: DiskParts): boolean {
  const key = parts.disk.rot.flipRow(parts.disk.uploads, parts.dice)
  if (key !== undefined) parts.trace.tell(`a bit of a record of ${key.split('\0').join('/')} flips`)
  return key !== undefined
}
