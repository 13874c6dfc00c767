import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { type FailingStorageLocation, storageCases, type Try } from './fixture.ts'
import { claimed, hello, resume, wanted } from './steps.ts'

const more = new TextEncoder().encode(' and more')

/** The promises of a partial file after a failed flush. */
export function flushingCases(kind: string, trying: Try<FailingStorageLocation>, skipped?: string): TestCases {
  return storageCases(
    `a failed flush in a ${kind} storage`,
    trying,
    (it) => {
      it('rejects, and keeps the bytes of earlier flushes', async (fixture) => {
        const { claim } = await claimed(fixture.storage, { size: hello.length + more.length })
        const file = await fixture.storage.files.open(claim)
        await file.write(0, [hello])
        await file.flush()
        await fixture.storage.transfers.checkpoint(
          claim,
          [{ offset: hello.length, digest: Uint8Array.of(1) }],
          2_000_000,
        )
        await file.write(hello.length, [more])
        {
          using _ = await fixture.place.failFlushes()
          await assert.rejects(file.flush(), { code: 'internal' })
        }
        await file[Symbol.asyncDispose]()
        await fixture.restart()
        const again = await claimed(fixture.storage, { ...wanted, size: hello.length + more.length }, resume)
        assert.deepEqual(
          again.record.checkpoints.map(({ offset }) => offset),
          [hello.length],
        )
        await using found = await fixture.storage.files.open(again.claim)
        const into = new Uint8Array(hello.length)
        await found.read(into, 0)
        assert.deepEqual(into, hello)
      })
    },
    skipped,
  )
}
