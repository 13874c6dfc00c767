import assert from 'node:assert/strict'
import { TurnMap } from '../../../lib/adapters/disk/turnMap.ts'
import { spec } from '../../support/spec.ts'

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve))

spec('a map of turns of the event loop', (it) => {
  for (const turns of [1, 2, 3]) {
    it(`keeps its entries for ${turns}`, async () => {
      const map = new TurnMap<string, number>(turns)
      map.set('a', 1)
      for (let turn = 1; turn < turns; turn++) {
        await nextTurn()
        assert.equal(map.get('a'), 1)
      }
      await nextTurn()
      assert.equal(map.get('a'), undefined)
    })
  }
})
