import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/nodePlatform.ts'
import { spec } from '../../support/spec.ts'
import type { Try } from './trial.ts'

/** The promises of opening and closing. */
export function stateLife(kind: string, trying: Try): void {
  spec(`the life of a ${kind} storage`, (it) => {
    it(
      'is closed as often as one likes',
      trying(async ({ storage }) => {
        await storage[Symbol.asyncDispose]()
        await storage[Symbol.asyncDispose]()
      }),
    )

    it(
      'is open for one at a time',
      trying(async ({ place, storage }) => {
        const second = place.storage()
        await assert.rejects(second.open(nodePlatform()), { code: 'data-locked' })
        assert.equal(await storage.files.stored('alice', 'a'), false)
      }),
    )
  })
}
