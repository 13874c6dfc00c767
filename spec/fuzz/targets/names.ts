import assert from 'node:assert/strict'
import { resolve, sep } from 'node:path'
import { layoutOf } from '../../../lib/adapters/disk/layout.ts'
import { checkFileName, checkUserName } from '../../../lib/names.ts'
import { coded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { mutated } from '../mutate.ts'
import { type Pieces, plainTarget } from '../target.ts'

const parts = ['a', 'b.txt', '..', '.', '', '\u00e4', 'a\u0308', '\u202e', '\u0000', 'con', 'x'.repeat(255), '\u2028']
const more = [
  'C:',
  'a\\b',
  '\ud83d\ude00',
  ' ',
  'a.',
  '\uff0e\uff0e',
  '\u2024\u2024',
  '\ufeff',
  'AUX.txt',
  '~',
  '$HOME',
]

/** Names: an accepted name leads to a path below the folder of files, and any other is `bad-name`. */
export const namesTarget = plainTarget({ make, run })

/** In UTF-16, to include unpaired surrogates. */
function make(draw: Draw): Pieces {
  const name = Buffer.from(
    draw.some(1, 5, () => draw.pick([...parts, ...more])).join(draw.pick(['/', '/', '', '\\'])),
    'utf16le',
  )
  return [draw.once(2) ? mutated(name, draw) : name]
}

const layout = layoutOf('/data')

async function run([piece = new Uint8Array(0)]: Pieces): Promise<void> {
  const name = Buffer.from(piece).toString('utf16le')
  const user = await coded(() => checkUserName(name), 'bad-name')
  assert.ok(user === undefined || user === name)
  for (const [owner, stored] of [
    ['alice', name],
    [name, 'a'],
  ] as const) {
    const below = await coded(() => layout.partsOf(owner, stored), 'bad-name')
    if (!below) continue
    const path = resolve(layout.files, ...below)
    assert.ok(path.startsWith(`${layout.files}${sep}`), `${path} is not below ${layout.files}`)
    assert.equal(path, [layout.files, ...below].join(sep))
    assert.equal(checkFileName(stored), stored)
  }
}
