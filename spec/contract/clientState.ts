import assert from 'node:assert/strict'
import type { ClientState, Receipt } from '../../lib/ports/clientState.ts'
import { spec } from '../support/spec.ts'

/** A place where client states of one kind keep things, for one fact. */
export interface StatePlace extends AsyncDisposable {
  /** A state of this place. Called again: the program was started anew. */
  state(): ClientState
}

/** A receipt that can be told from others. */
export function receiptOf(seq: number): Receipt {
  return { seq, sender: `bob ${seq} "ä"`, id: seq.toString(16).padStart(32, '0') }
}

const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, at) => receiptOf(first + at))

/** States every promise of a client state about one kind of it. */
export function clientStateContract(kind: string, place: () => Promise<StatePlace>): void {
  spec(`the receipts of a ${kind} state`, (it) => {
    it('are none at first', async () => {
      await using here = await place()
      assert.deepEqual(await here.state().receipts.load(), [])
    })

    it('are there again after a restart, the latest last', async () => {
      await using here = await place()
      const { receipts } = here.state()
      await receipts.load()
      for (const receipt of range(1, 5)) await receipts.put(receipt, 10)
      assert.deepEqual(await here.state().receipts.load(), range(1, 5))
    })

    it('are the latest at least, and not many more, however many were put', async () => {
      await using here = await place()
      const { receipts } = here.state()
      for (const receipt of range(1, 600)) await receipts.put(receipt, 3)
      const kept = await here.state().receipts.load()
      assert.deepEqual(kept.slice(-3), range(598, 600))
      assert.deepEqual(kept, range(601 - kept.length, 600))
      assert.ok(kept.length <= 300, `${kept.length} are kept`)
    })

    it('stay where more are put by a program that has not loaded them', async () => {
      await using here = await place()
      await here.state().receipts.put(receiptOf(1), 3)
      await here.state().receipts.put(receiptOf(2), 3)
      assert.deepEqual(await here.state().receipts.load(), range(1, 2))
    })

    it('keep as many as are asked for now', async () => {
      await using here = await place()
      const { receipts } = here.state()
      for (const receipt of range(1, 4)) await receipts.put(receipt, 2)
      for (const receipt of range(5, 9)) await receipts.put(receipt, 5)
      assert.deepEqual((await here.state().receipts.load()).slice(-5), range(5, 9))
    })
  })
}
