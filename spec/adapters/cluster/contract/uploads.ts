import assert from 'node:assert/strict'
import type { ClaimDecision, ClusterSessionLink, FoundUpload } from '../../../../lib/adapters/cluster/steps.ts'
import { OspError } from '../../../../lib/errors.ts'
import type { Claim, NewTransfer, StoredFile, TransferRecord } from '../../../../lib/ports/storage.ts'
import { entered, type SharedStoreFixture, type TestedServer } from './fixture.ts'

export type Granted = Extract<ClaimDecision, { readonly record: unknown }>

/** A time until which completion markers are valid. */
export const farAway = Number.MAX_SAFE_INTEGER

export const uploadOf = (user: string, name: string): NewTransfer => ({
  ...{ user, name, size: 1_000, modifiedAt: 1_700_000_000_123, algorithm: 'sha256' },
})

export const fileOf = ({ user, name, size, algorithm }: NewTransfer, replaced = false): StoredFile => ({
  ...{ user, name, storedName: `${name} (2)`, replaced, size, algorithm, digest: 'ab01' },
})

/** Returns the decision to begin an upload, or to continue the record that was found. */
export function grantTo(by: ClusterSessionLink, upload: NewTransfer, instance = 1, reserved = 0) {
  return async ({ record }: FoundUpload): Promise<Granted> => {
    const owner = { node: by.link, instance, session: by.session }
    const { token: _, ...base } = record ?? { token: 0, superseded: [], checkpoints: [] }
    const part = { growth: reserved, entries: reserved > 0 ? 1 : 0 }
    return { record: { ...upload, ...base, owner, updatedAt: 10.5 }, reserved: part }
  }
}

export type Claimed = Extract<
  Awaited<ReturnType<TestedServer['steps']['transfers']['claim']>>,
  { readonly claim: Claim }
>

/** A claim that is granted to a link. */
export async function claimed(
  { steps }: TestedServer,
  by: ClusterSessionLink,
  upload: NewTransfer,
  decide: (found: FoundUpload) => Promise<ClaimDecision> = grantTo(by, upload),
): Promise<Claimed> {
  const result = await steps.transfers.claim(by, upload, decide)
  if ('completed' in result) assert.fail('the upload is complete')
  return result
}

/** Returns a link that is the link of its session. */
export async function openLink(
  at: TestedServer,
  user: string,
  link: number,
  session?: string,
): Promise<ClusterSessionLink> {
  const opened = at.link(user, link, session)
  await at.steps.openSession(opened, link)
  return opened
}

/** Two servers with a link of the same user, but of different sessions, at each. */
export async function twoServers(store: SharedStoreFixture, leaseMs?: number) {
  const [first, second] = [await entered(store, leaseMs), await entered(store)]
  return { first, second, one: await openLink(first, 'alice', 1), two: await openLink(second, 'alice', 2) }
}

/** Resolves with the state that a claim of the upload would find now. */
export async function foundBy(at: TestedServer, by: ClusterSessionLink, upload: NewTransfer): Promise<FoundUpload> {
  let found: FoundUpload | undefined
  const claim = at.steps.transfers.claim(by, upload, async (each) => {
    found = each
    throw new OspError('cancelled')
  })
  await assert.rejects(claim, { code: 'cancelled' })
  return found ?? assert.fail('the claim has found nothing')
}

export const checkpointOf = (offset: number, ...digest: number[]) => ({ offset, digest: Uint8Array.from(digest) })

export const checkpointed = ({ steps }: TestedServer, claim: Claim, offset: number, at = 20) =>
  steps.transfers.checkpoint([{ claim, checkpoints: offset === 0 ? [] : [checkpointOf(offset, 7)], at }])

/** The result of `verified` if the upload was marked. */
export const marked = { holds: true, changes: [], waiting: [] }

/** Claims an upload and completes it. */
export async function completed(at: TestedServer, by: ClusterSessionLink, upload: NewTransfer, until = farAway) {
  const { transfers } = at.steps
  const { claim } = await claimed(at, by, upload)
  assert.deepEqual(await transfers.verified(claim, fileOf(upload), 'v1'), marked)
  assert.equal(await transfers.complete(claim, until), true)
  return claim
}

/** The result of `announce` if the files were announced. */
export const announcedFiles = { changes: [], waiting: [], unfinished: [], isOverQuota: false, ended: [] }

export const namesOf = (records: readonly Pick<TransferRecord, 'user' | 'name'>[]) =>
  records.map(({ user, name }) => `${user}:${name}`)

export const upload = uploadOf('alice', 'a/b.txt')
export const [superseded, cancelled] = [{ why: 'superseded' }, { why: 'cancelled' }] as const
