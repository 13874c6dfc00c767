import assert from 'node:assert/strict'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { stateDirectory } from '../../../lib/adapters/stateDirectory/stateDirectory.ts'
import { OspError } from '../../../lib/errors.ts'
import { isFileName, isUserName } from '../../../lib/names.ts'
import type { StoredTask } from '../../../lib/ports/clientState.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'
import { assertCoded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { jsonLike } from '../json.ts'
import { mutated } from '../mutate.ts'
import type { Pieces, Target } from '../target.ts'

const task: StoredTask = { id: 1, ref: '/a', name: 'a', algorithm: 'sha256', state: 'open', size: 5, durable: 3 }
const failed: StoredTask = { ...task, state: 'failed', reason: { code: 'closed', text: 'x' }, endedAt: 5 }
const receipt = { seq: 3, sender: 'bob', id: '0'.repeat(32) }

/**
 * A state directory with arbitrary bytes as its tasks and its receipts: it returns the intact ones, and accepts new
 * ones.
 */
export async function stateTarget(): Promise<Target> {
  const directory = await temporaryDirectory()
  return {
    make,
    run: (pieces) => run(join(directory.path, 'state'), pieces),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
}

/** The file of tasks, and the file of receipts. */
function make(draw: Draw): Pieces {
  return [
    file(draw, () => ({ ...draw.pick([task, failed]), id: draw.from(1, 3) })),
    file(draw, () => ({ ...receipt, seq: draw.below(5) })),
  ]
}

function file(draw: Draw, line: () => unknown): Uint8Array {
  const lines = draw.some(0, 4, () => {
    const json = jsonLike(draw.once(5) ? { removed: draw.below(4) } : line(), draw)
    return Buffer.concat([Buffer.from(`${crc32(json).toString(16).padStart(8, '0')} `), json, Buffer.from('\n')])
  })
  const bytes = Buffer.concat(lines)
  return draw.once(3) ? mutated(bytes, draw) : bytes
}

async function run(path: string, [tasks = new Uint8Array(0), receipts = new Uint8Array(0)]: Pieces): Promise<void> {
  await mkdir(path)
  try {
    await writeFile(join(path, 'tasks'), tasks)
    await writeFile(join(path, 'receipts'), receipts)
    const state = stateDirectory(path)
    const kept = await state.tasks.load()
    for (const { id, name, reason } of kept) {
      assert.ok(Number.isSafeInteger(id) && id > 0 && isFileName(name))
      if (reason) assertCoded(new OspError(reason.code, reason.text), reason.code)
    }
    for (const { seq, sender, id } of await state.receipts.load()) {
      assert.ok(seq >= 0 && isUserName(sender) && id.length === 32)
    }
    await state.tasks.put({ ...task, id: 7 })
    await state.receipts.put(receipt, 2)
    const again = stateDirectory(path)
    const others = kept.filter(({ id }) => id !== 7)
    assert.deepEqual(
      await again.tasks.load(),
      [...others, { ...task, id: 7 }].sort((a, b) => a.id - b.id),
    )
    assert.deepEqual((await again.receipts.load()).at(-1), receipt)
  } finally {
    await rm(path, { recursive: true })
  }
}
