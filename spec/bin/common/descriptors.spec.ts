import assert from 'node:assert/strict'
import { withinDescriptors } from '../../../bin/common/descriptors.ts'
import { defaultLimits } from '../../../lib/limits.ts'
import { spec } from '../../support/spec.ts'

const { links, fileInstances, parkedUploads, refusedLinks, handshakes, pendingLinks } = defaultLimits
const limits = { links, fileInstances, parkedUploads, refusedLinks, handshakes, pendingLinks }
type Counted = ReturnType<typeof withinDescriptors>
const sum = (of: Counted) => Object.values(of).reduce((total, each) => total + each, 0)

spec('the limits that take file descriptors', (it) => {
  it('stay unchanged if the process can open enough files', () => {
    assert.deepEqual(withinDescriptors(limits, 64 + sum(limits)), limits)
    assert.deepEqual(withinDescriptors(limits, Number.MAX_SAFE_INTEGER), limits)
  })

  it('are reduced otherwise, and leave descriptors for the process itself', () => {
    for (const descriptors of [128, 256, 1_024, 63 + sum(limits)]) {
      const lower = withinDescriptors(limits, descriptors)
      assert.ok(sum(lower) <= descriptors - 64, `${sum(lower)} of ${descriptors}`)
      for (const name of Object.keys(limits) as (keyof typeof limits)[]) {
        assert.ok(lower[name] >= 1 && lower[name] <= limits[name], `${name} is ${lower[name]}`)
      }
      assert.ok(lower.links >= (descriptors - 64) / 2)
    }
  })

  it('are never raised', () => {
    const few = { links: 3, fileInstances: 1, parkedUploads: 1, refusedLinks: 1, handshakes: 1, pendingLinks: 1 }
    assert.deepEqual(withinDescriptors(few, 128), few)
    assert.deepEqual(withinDescriptors({ ...limits, links: 3 }, 256).links, 3)
  })
})
