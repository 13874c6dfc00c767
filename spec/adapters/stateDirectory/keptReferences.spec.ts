import assert from 'node:assert/strict'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FileReference } from 'ospd'
import { keptReferences } from '../../../lib/adapters/stateDirectory/keptReferences.ts'
import { clientLimits } from '../../../lib/limits.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const reference = (name: string): FileReference => ({
  owner: 'alice',
  name,
  size: 3,
  modifiedAt: 1,
  version: '5:17',
  algorithm: 'sha256',
  digest: '00ff',
  metadata: { contentType: 'text/plain' },
  readers: ['bob'],
  until: 5,
  proof: '01',
})

spec('the references in a state directory', (it) => {
  it('are read by another process, without damaged lines', async () => {
    await using at = await place()
    await keptReferences(at.path).add(reference('a'))
    appendFileSync(join(at.path, 'references'), '00000000 {}\n')
    const references = keptReferences(at.path)
    await Promise.all([references.add(reference('b')), references.add(reference('c'))])
    assert.deepEqual(await keptReferences(at.path).load(), ['a', 'b', 'c'].map(reference))
    assert.deepEqual(await keptReferences(join(at.path, 'missing')).load(), [])
  })

  it('are bounded: the oldest are dropped', async () => {
    await using at = await place()
    const { references: most } = clientLimits
    const references = keptReferences(at.path)
    await Promise.all(Array.from({ length: most + 2 }, (_, n) => references.add(reference(`${n}`))))
    const names = (await keptReferences(at.path).load()).map(({ name }) => name)
    assert.deepEqual([names.length, names[0], names.at(-1)], [most, '2', `${most + 1}`])
  })
})
