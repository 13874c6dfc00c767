import assert from 'node:assert/strict'
import {
  type ClusterSessionLink,
  type FoundUpload,
  OutcomeUnknown,
  type Steps,
} from '../../../lib/adapters/cluster/steps.ts'
import type { Claim, StoredFile } from '../../../lib/ports/storage.ts'

const upload = { user: 'alice', size: 9, algorithm: 'sha256' } as const

/** Returns the stored file of an upload of alice. */
export const fileOf = (name: string): StoredFile => ({
  ...{ ...upload, name, storedName: name, replaced: false, digest: 'ab' },
})

/** Repeats a step until the database answers. */
export async function answered<T>(step: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await step()
    } catch (error) {
      if (!(error instanceof OutcomeUnknown)) throw error
    }
  }
}

/** Claims an upload of alice, as the link `by`. Continues its record if there is one. */
export async function claimed({ transfers }: Steps, by: ClusterSessionLink, name: string): Promise<Claim> {
  const owner = { node: by.link, instance: 1, session: by.session }
  const begun = { ...upload, name, modifiedAt: 1, superseded: [], checkpoints: [], updatedAt: 1 }
  const decide = async ({ record }: FoundUpload) => ({
    ...{ record: { ...begun, ...record, owner }, reserved: { growth: 0, entries: 0 } },
  })
  const result = await transfers.claim(by, { user: 'alice', name }, decide)
  return 'claim' in result ? result.claim : assert.fail('it is complete')
}

/** Completes uploads one after another until `isOver`. Their names begin with `prefix`, and are added to `done`. */
export async function uploadUntil(
  steps: Steps,
  by: ClusterSessionLink,
  prefix: string,
  isOver: () => boolean,
  done: string[],
): Promise<void> {
  const { transfers } = steps
  for (let number = 1; !isOver(); number++) {
    const name = `${prefix} ${number}`
    const claim = await answered(() => claimed(steps, by, name))
    const batch = [{ claim, checkpoints: [{ offset: 4, digest: Uint8Array.of(1) }], at: 5 }]
    assert.deepEqual(await answered(() => transfers.checkpoint(batch)), [true])
    assert.equal((await answered(() => transfers.verified(claim, fileOf(name), 'v'))).holds, true)
    assert.equal(await answered(() => transfers.complete(claim, 9e15)), true)
    done.push(name)
  }
}
