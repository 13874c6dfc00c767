import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { nameOf } from '../mutate/mutation.ts'
import { mutations } from '../mutate/mutations.ts'
import { spec } from '../support/spec.ts'
import { simulate } from './simulate.ts'

const digests = nodeDigests()

spec('a simulated world', (it) => {
  for (const { shownBy, fault } of mutations) {
    if (typeof shownBy === 'string') continue
    it(`holds without this fault: ${fault}: ${nameOf(shownBy)}`, async () => {
      assert.equal((await simulate(shownBy.seed, digests, shownBy.world)).failure, undefined)
    })
  }
})
