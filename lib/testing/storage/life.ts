import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'

/** The promises of opening and closing. */
export function lifeCases(kind: string, trying: Try): TestCases {
  return storageCases(`the life of a ${kind} storage`, trying, (it) => {
    it('can be closed more than once', async ({ storage }) => {
      await storage[Symbol.asyncDispose]()
      await storage[Symbol.asyncDispose]()
    })

    it('can be opened by one owner at a time', async ({ place, platform, storage }) => {
      const second = place.storage()
      await assert.rejects(second.open(platform), { code: 'data-locked' })
      assert.equal(await storage.files.stored('alice', 'a'), false)
    })
  })
}
