import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { spec } from '../support/spec.ts'
import { mutations, nameOf } from './mutations.ts'
import { simulate } from './simulate.ts'

const digests = nodeDigests()

spec('a simulated world', (it) => {
  for (const { shownBy, fault } of mutations) {
    if (typeof shownBy === 'string') continue
    it(`holds where ${fault}, unless that happens: ${nameOf(shownBy)}`, async () => {
      assert.equal((await simulate(shownBy.seed, digests, shownBy.world)).failure, undefined)
    })
  }
})
