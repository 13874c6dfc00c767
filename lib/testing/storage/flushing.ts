import assert from 'node:assert/strict'
import type { Facts } from '../testCases.ts'
import { type BrittlePlace, storageCases, type Try } from './fixture.ts'
import { claimed, hello, resume, wanted } from './steps.ts'

const more = new TextEncoder().encode(' and more')

/** The promises of a partial file after a failed flush. */
export function* stateFlushing(kind: string, trying: Try<BrittlePlace>, skipped?: string): Facts {
  yield* storageCases(
    `a failed flush in a ${kind} storage`,
    trying,
    (it) => {
      it('rejects, and keeps the bytes of earlier flushes', async (trial) => {
        const { claim } = await claimed(trial.storage, { size: hello.length + more.length })
        const file = await trial.storage.files.open(claim)
        await file.write(0, [hello])
        await file.flush()
        await trial.storage.transfers.checkpoint(claim, [{ offset: hello.length, digest: Uint8Array.of(1) }], 2_000_000)
        await file.write(hello.length, [more])
        {
          using _ = await trial.place.failFlushes()
          await assert.rejects(file.flush(), { code: 'internal' })
        }
        await file[Symbol.asyncDispose]()
        await trial.restart()
        const again = await claimed(trial.storage, { ...wanted, size: hello.length + more.length }, resume)
        assert.deepEqual(
          again.record.checkpoints.map(({ offset }) => offset),
          [hello.length],
        )
        await using found = await trial.storage.files.open(again.claim)
        const into = new Uint8Array(hello.length)
        await found.read(into, 0)
        assert.deepEqual(into, hello)
      })
    },
    skipped,
  )
}
