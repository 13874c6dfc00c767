import assert from 'node:assert/strict'
import fc from 'fast-check'
import { KiB } from '../../lib/limits.ts'
import { IncrementalDigest, same } from '../../lib/runtime/incrementalDigest.ts'
import { cut } from '../support/bytes.ts'
import { spec } from '../support/spec.ts'
import { algorithm, bytesOf, digestOf, digests, following, markAt, SlowFile } from './followed.ts'

await digests.load(algorithm)

spec('a digest that follows a file', (it) => {
  it('adds bytes that arrive in order, and returns the digest so far', () => {
    const file = bytesOf(100)
    const digest = following(new Uint8Array(0))
    assert.deepEqual([digest.position, digest.now()], [0, digestOf(new Uint8Array(0))])
    digest.follow(0, [file.subarray(0, 30), file.subarray(30, 60)])
    assert.deepEqual([digest.position, digest.now()], [60, digestOf(file.subarray(0, 60))])
    digest.follow(60, [file.subarray(60)])
    assert.deepEqual([digest.position, digest.now()], [100, digestOf(file)])
  })

  it('adds only the new part of bytes that it already has', () => {
    const file = bytesOf(100)
    const digest = following(new Uint8Array(0))
    digest.follow(0, [file.subarray(0, 50)])
    digest.follow(20, [file.subarray(20, 40), file.subarray(40, 70)])
    digest.follow(0, [file.subarray(0, 10)])
    assert.deepEqual([digest.position, digest.now()], [70, digestOf(file.subarray(0, 70))])
  })

  it('ignores a gap until it catches up', async () => {
    const file = bytesOf(100)
    const digest = following(file)
    digest.follow(40, [file.subarray(40, 100)])
    assert.equal(digest.position, 0)
    assert.equal(await digest.catchUp(0), undefined)
    assert.deepEqual([digest.position, digest.now()], [100, digestOf(file)])
  })

  it('catches up in parallel with the transfer, and keeps no chunk', async () => {
    const file = new SlowFile(bytesOf(1_000 * KiB))
    const digest = new IncrementalDigest({ digests, algorithm, read: file.read })
    const caughtUp = digest.catchUp(500 * KiB)
    for (let at = 500; at < 1_000; at += 100) {
      digest.follow(at * KiB, [file.bytes.subarray(at * KiB, (at + 100) * KiB)])
      await file.go()
    }
    while (file.waiting.length > 0) await file.go()
    assert.equal(await caughtUp, undefined)
    assert.deepEqual([digest.position, digest.now()], [1_000 * KiB, digestOf(file.bytes)])
  })

  it('adds bytes in order again after it has caught up', async () => {
    const file = bytesOf(100)
    const digest = following(file.subarray(0, 60))
    await digest.catchUp(60)
    digest.follow(60, [file.subarray(60)])
    assert.deepEqual([digest.position, digest.now()], [100, digestOf(file)])
  })

  it('reads once for several calls of catchUp', async () => {
    const file = new SlowFile(bytesOf(100))
    const digest = new IncrementalDigest({ digests, algorithm, read: file.read })
    const both = Promise.all([digest.catchUp(50), digest.catchUp(50)])
    await file.go()
    assert.deepEqual([await both, file.reads], [[undefined, undefined], 1])
  })

  it('fails if the file ends early or cannot be read, and can be called again', async () => {
    const file = new SlowFile(bytesOf(10))
    const digest = new IncrementalDigest({ digests, algorithm, read: file.read })
    const short = assert.rejects(digest.catchUp(20), RangeError)
    await file.go()
    await file.go()
    await short
    file.bytes = bytesOf(20)
    const again = digest.catchUp(20)
    file.waiting.shift()?.reject(new Error('unreadable'))
    await assert.rejects(again, /unreadable/u)
    const third = digest.catchUp(20)
    await file.go()
    assert.equal(await third, undefined)
    assert.deepEqual(digest.now(), digestOf(bytesOf(20)))
  })
})

spec('the checkpoints of a digest', (it) => {
  const file = bytesOf(100)

  it('that are equal are passed, also within a piece and several at one offset', async () => {
    const marks = [30, 30, 55, 100].map((offset) => markAt(file, offset))
    const digest = following(file, marks)
    digest.follow(0, [file.subarray(0, 60)])
    assert.equal(await digest.catchUp(100), undefined)
    assert.deepEqual(digest.now(), digestOf(file))
  })

  it('that are different stop it, with the last equal one', async () => {
    const damaged = bytesOf(100)
    damaged[50] = 0xee
    const marks = [30, 45, 60, 90].map((offset) => markAt(file, offset))
    const digest = following(damaged, marks)
    assert.equal(await digest.catchUp(100), 45)
    assert.equal(digest.position, 60)
    digest.follow(60, [file.subarray(60)])
    assert.equal(digest.position, 60, 'nothing is taken until it goes back')
    assert.equal(await digest.catchUp(100), 45)
    digest.rewind(45)
    damaged[50] = file[50] ?? 0
    assert.equal(await digest.catchUp(45), undefined)
    assert.deepEqual([digest.position, digest.now()], [45, digestOf(file.subarray(0, 45))])
    digest.follow(45, [file.subarray(45)])
    assert.deepEqual(digest.now(), digestOf(file))
  })

  it('rewind it to the start if none was equal', async () => {
    const digest = following(bytesOf(100, 1), [markAt(file, 10)])
    assert.equal(await digest.catchUp(100), 0)
    digest.rewind(0)
    digest.follow(0, [file])
    assert.deepEqual(digest.now(), digestOf(file))
  })

  it('can be used to rewind more than once', async () => {
    const digest = following(file, [markAt(file, 40)])
    await digest.catchUp(50)
    for (const _ of [1, 2]) {
      digest.rewind(40)
      digest.follow(40, [file.subarray(40)])
      assert.equal(digest.position, 0, 'the bytes before the checkpoint must be read again')
      assert.equal(await digest.catchUp(100), undefined)
      assert.deepEqual(digest.now(), digestOf(file))
    }
    digest.rewind(0)
    assert.equal(digest.position, 0)
  })

  it('are compared again after a rewind, so that further damage leads to an earlier one', async () => {
    const damaged = bytesOf(100)
    damaged[70] = 0xee
    const digest = following(
      damaged,
      [20, 40, 60, 80].map((offset) => markAt(file, offset)),
    )
    assert.equal(await digest.catchUp(100), 60)
    digest.rewind(60)
    damaged[30] = 0xee
    assert.equal(await digest.catchUp(60), 20)
    digest.rewind(20)
    damaged[10] = 0xee
    assert.equal(await digest.catchUp(20), 0)
    digest.rewind(0)
    digest.follow(0, [file])
    assert.deepEqual(digest.now(), digestOf(file))
  })

  it('can be added later, but not before the position', async () => {
    const digest = following(file)
    digest.follow(0, [file.subarray(0, 50)])
    assert.equal(digest.expect(markAt(file, 49)), false)
    assert.equal(digest.expect({ offset: 0, digest: new Uint8Array(0) }), false)
    assert.equal(digest.expect(markAt(file, 80)), true)
    assert.equal(digest.expect(markAt(file, 70)), true)
    assert.equal(await digest.catchUp(100), undefined)
  })

  it('at the position are compared at once, even if nothing is left to read', async () => {
    const digest = following(file)
    digest.follow(0, [file])
    assert.equal(digest.expect({ offset: 100, digest: digestOf(bytesOf(100, 1)) }), true)
    assert.equal(await digest.catchUp(100), 0)
  })
})

spec('a rewind during a read', (it) => {
  it('loses nothing and adds nothing twice: the result of the read is ignored', async () => {
    const file = new SlowFile(bytesOf(100))
    const digest = new IncrementalDigest({ digests, algorithm, read: file.read })
    const old = digest.catchUp(100)
    digest.rewind(0)
    digest.follow(0, [file.bytes.subarray(0, 40)])
    const next = digest.catchUp(100)
    while (file.waiting.length > 0) await file.go()
    assert.deepEqual(await Promise.all([old, next]), [undefined, undefined])
    assert.deepEqual([digest.position, digest.now()], [100, digestOf(file.bytes)])
  })

  it('ends the call of catchUp if nothing is left to read', async () => {
    const file = new SlowFile(bytesOf(100))
    const digest = new IncrementalDigest({ digests, algorithm, read: file.read })
    const old = digest.catchUp(100)
    digest.rewind(0)
    await file.go()
    assert.equal(await old, undefined)
    assert.equal(digest.position, 0)
  })

  it('to a checkpoint begins to read again, and the result of the earlier read is ignored', async () => {
    const file = new SlowFile(bytesOf(100))
    const marks = [40, 70].map((offset) => markAt(file.bytes, offset))
    const digest = new IncrementalDigest({ digests, algorithm, read: file.read, checkpoints: marks })
    const first = digest.catchUp(50)
    await file.go()
    assert.equal(await first, undefined)
    const old = digest.catchUp(100)
    digest.rewind(40)
    const next = digest.catchUp(40)
    digest.follow(40, [file.bytes.subarray(40)])
    while (file.waiting.length > 0) await file.go()
    assert.deepEqual(await Promise.all([old, next]), [undefined, undefined])
    assert.deepEqual([digest.position, digest.now()], [100, digestOf(file.bytes)])
  })
})

spec('a digest that follows a file, in any order of bytes,', (it) => {
  it('is the digest of the file in the end', async () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 })
    const property = fc.asyncProperty(pieces, fc.array(fc.nat(3)), async (lengths, choices) => {
      const file = new SlowFile(bytesOf(300))
      const marks = [10, 150, 290].map((offset) => markAt(file.bytes, offset))
      const digest = new IncrementalDigest({ digests, algorithm, read: file.read, checkpoints: marks })
      const asked: Promise<number | undefined>[] = []
      let at = 0
      for (const [index, piece] of cut(file.bytes, lengths).entries()) {
        const choice = choices[index % Math.max(1, choices.length)]
        if (choice === 1) asked.push(digest.catchUp(at))
        if (choice === 2) await file.go()
        if (choice !== 3) digest.follow(at, [piece])
        at += piece.length
      }
      asked.push(digest.catchUp(300))
      while (file.waiting.length > 0) await file.go()
      assert.ok((await Promise.all(asked)).every((agreed) => agreed === undefined))
      assert.deepEqual([digest.position, digest.now()], [300, digestOf(file.bytes)])
    })
    await fc.assert(property, { numRuns: 100 })
  })
})

spec('two digests are the same', (it) => {
  it('if their bytes are equal', () => {
    assert.equal(same(Uint8Array.of(1, 2), Uint8Array.of(1, 2)), true)
    assert.equal(same(Uint8Array.of(1, 2), Uint8Array.of(1, 3)), false)
    assert.equal(same(Uint8Array.of(1, 2), Uint8Array.of(1)), false)
  })
})
