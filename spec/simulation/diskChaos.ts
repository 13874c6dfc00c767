import type { Happening } from './chaos.ts'
import { operations } from './diskTroubles.ts'
import type { World } from './world.ts'

/** What may happen to the disk of the server. */
export const diskHappenings: readonly Happening[] = [
  { name: 'the disk is full', weight: 1, toDisk: true, happen: fill },
  ...operations.map((operation) => ({
    name: `the disk fails: ${operation}`,
    weight: 1,
    toDisk: true,
    happen: (world: World) => fail(world, operation),
  })),
  { name: 'bits flip', weight: 3, toDisk: true, happen: rot },
  { name: 'bits of a record flip', weight: 2, toDisk: true, happen: rotRecord },
]

/** For a while. */
function fill(world: World): boolean {
  const { disk, machine, dice } = world
  if (disk.troubles.freeBytes === 0) return false
  const ms = dice.integer(10, 20_000, 'time that the disk is full')
  world.tell(`the disk is full: ${ms} ms`)
  disk.troubles.fill()
  machine.time.alarm(machine.time.now() + ms, () => disk.troubles.empty())
  return true
}

function fail(world: World, operation: (typeof operations)[number]): boolean {
  if (world.files.length === 0) return false
  const times = world.dice.integer(1, 3, 'operations that fail')
  world.tell(`the disk fails ${times} times: ${operation}`)
  world.disk.troubles.fail(operation, times)
  return true
}

/** In what nobody has open: whoever opens it reads it. */
function rot(world: World): boolean {
  const { disk, dice } = world
  const resting = [...disk.partial].filter(([, { isOpen, written }]) => !isOpen && written.length > 0)
  if (resting.length === 0) return false
  const [key, image] = dice.pick(resting, 'a partial file')
  world.tell(`a bit of ${key.split('\0').join('/')} flips`)
  disk.troubles.rotten.add(key)
  image.rot(dice)
  return true
}

/** The flipped row is lost at the next read, unless it was replaced before. The server logs the loss. */
function rotRecord(world: World): boolean {
  const key = world.disk.rot.flipRow(world.disk.uploads, world.dice)
  if (key !== undefined) world.tell(`a bit of a record of ${key.split('\0').join('/')} flips`)
  return key !== undefined
}
