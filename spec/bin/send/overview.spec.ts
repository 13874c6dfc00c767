import assert from 'node:assert/strict'
import { Overview, Speed } from '../../../bin/send/overview.ts'
import { spec } from '../../support/spec.ts'

/** Returns the speed after each of these counts, which are `everyMs` apart. */
function after(everyMs: number, counts: readonly number[]): readonly (number | undefined)[] {
  const speed = new Speed()
  return counts.map((bytes, at) => {
    speed.note(bytes, at * everyMs)
    return speed.bytesPerSecond
  })
}

spec('the speed of a file', (it) => {
  it('is unknown until its bytes have risen for a while', () => {
    assert.deepEqual(after(1_000, [0, 0, 0]), [undefined, undefined, undefined])
    assert.deepEqual(after(100, [0, 10, 20, 30, 40]), [undefined, undefined, undefined, undefined, 100])
  })

  it('covers the last five seconds', () => {
    const rising = Array.from(
      { length: 20 },
      (_, second) => Math.min(second, 10) * 100 + Math.max(0, second - 10) * 300,
    )
    assert.equal(after(1_000, rising).at(-1), 300)
  })

  it('is correct if each step takes longer than that', () => {
    const steps = [0, ...[14_000, 28_000, 42_000].flatMap((bytes) => [...Array(13).fill(bytes - 14_000), bytes])]
    assert.deepEqual(new Set(after(1_000, steps)), new Set([undefined, 1_000]))
  })

  it('does not count pauses', () => {
    const all = after(1_000, [0, 1_000, 2_000, ...Array(20).fill(2_000), 2_500, 3_500, 4_500])
    assert.deepEqual(all.slice(-4), [0, undefined, 1_000, 1_000])
  })

  it('falls to 0 if no more bytes come', () => {
    const all = after(1_000, [0, 1_000, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000])
    assert.deepEqual(all.slice(2), [1_000, 1_000, 2_000 / 3, 500, 400, 2_000 / 6, 0])
  })
})

spec('the progress of all files', (it) => {
  it('has the size of each file as soon as it is known, and the sizes of those that have ended', () => {
    const overview = new Overview()
    const add = (size?: number) => {
      const progress = { acknowledged: 0, durable: 0, size: 0 }
      const task = {
        path: 'a',
        size,
        upload: { phase: 'sending', error: undefined, progress, transferred: 0 } as const,
      }
      overview.add(task)
      return task
    }
    const totals = () => {
      const { title, done, size, isSizeKnown } = overview.total(0)
      return [title, done, size, isSizeKnown]
    }
    const [listed, named] = [add(100), add()]
    assert.deepEqual(totals(), ['0 of 2+ files', 0, 100, false])
    Object.assign(named.upload.progress, { acknowledged: 300, durable: 300, size: 1_000 })
    assert.deepEqual(totals(), ['0 of 2+ files', 300, 1_100, true])
    overview.isComplete = true
    overview.end(listed)
    assert.deepEqual(totals(), ['1 of 2 files', 400, 1_100, true])
    overview.end(named)
    assert.deepEqual(totals(), ['2 of 2 files', 1_100, 1_100, true])
  })
})
