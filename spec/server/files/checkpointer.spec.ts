import assert from 'node:assert/strict'
import type { Checkpoint } from '../../../lib/ports/storage.ts'
import { withCheckpoint } from '../../../lib/server/files/checkpointer.ts'
import { spec } from '../../support/spec.ts'

const nothing = new Uint8Array()

spec('the checkpoints of a record', (it) => {
  it('are limited, and spread over the file with most of them at its end', () => {
    let kept: readonly Checkpoint[] = []
    for (let offset = 1; offset <= 10_000; offset++) kept = withCheckpoint(kept, { offset, digest: nothing }, 32)
    const offsets = kept.map(({ offset }) => offset)
    assert.equal(offsets.length, 32)
    assert.deepEqual(
      offsets,
      [...offsets].sort((a, b) => a - b),
    )
    assert.deepEqual(offsets.slice(-4), [9_997, 9_998, 9_999, 10_000])
    assert.ok((offsets[0] ?? 0) < 3_000, `the first is ${offsets[0]}`)
  })
})
