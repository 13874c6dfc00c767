import assert from 'node:assert/strict'
import { hex } from '../../lib/runtime/hex.ts'
import { otherMessageId, uploadPartOf, versionMessageId } from '../../lib/runtime/messageId.ts'
import { spec } from '../support/spec.ts'

spec('the ids of the messages about the versions of a source', (it) => {
  it('differ for each modification time and digest, and from the ids of the messages to other users', () => {
    const id = Uint8Array.from({ length: 16 }, (_, at) => at)
    const digests = [0, 1, 2].map((last) => Uint8Array.of(1, 2, 3, 4, 5, 6, last, 1 + 2 * last, 9))
    const versions = digests.flatMap((digest) =>
      [0, 1, 2, 1_000, 1_001, Number.MAX_SAFE_INTEGER].map((modifiedAt) =>
        versionMessageId(id, { digest, modifiedAt }),
      ),
    )
    for (const version of versions) assert.equal((version.at(-1) ?? 0) & 1, (id.at(-1) ?? 0) & 1)
    const ids = [...versions, ...versions.map(otherMessageId)].map(hex)
    assert.equal(new Set(ids).size, ids.length)
    for (const each of ids) assert.equal(uploadPartOf(each), uploadPartOf(hex(id)))
  })
})
