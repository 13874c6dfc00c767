import assert from 'node:assert/strict'
import type { NewTransfer } from '../../ports/storage.ts'
import type { Checks } from '../testCases.ts'
import type { StorageSuite, TestedStorage } from './fixture.ts'
import { claimed, hello, opened, owner, recordsOf, resume, start, takeOver, textOf, upload, wanted } from './steps.ts'

const checkpoint = { offset: 3, digest: Uint8Array.of(3) }

/** Rejects unless a claim after an unfinished upload gets a new, empty record. */
async function beginsAtZero(storage: TestedStorage, want: Partial<NewTransfer>, options = resume): Promise<void> {
  const first = await opened(storage, {}, hello)
  await storage.transfers.checkpoint(first.claim, [checkpoint], 2_000_000)
  const second = await claimed(storage, want, options)
  assert.ok(second.claim.token > first.claim.token)
  assert.deepEqual(second.record.checkpoints, [])
  assert.equal(await textOf(storage, second.claim), '')
}

const claimingChecks: Checks<TestedStorage> = {
  'makes a record without checkpoints if there is none': async (storage) => {
    const { claim, record } = await claimed(storage)
    const unstarted = { owner: owner(1), superseded: [], checkpoints: [], updatedAt: resume.at }
    assert.deepEqual(record, { ...wanted, token: claim.token, ...unstarted })
    assert.deepEqual(await recordsOf(storage), [record])
  },
  'continues the record of the same upload with a higher token and the new owner': async (storage) => {
    const first = await claimed(storage)
    await storage.transfers.checkpoint(first.claim, [checkpoint], 2_000_000)
    const { claim, record } = await claimed(storage, {}, resume, owner(2))
    assert.ok(claim.token > first.claim.token)
    assert.deepEqual([record.checkpoints, record.owner], [[checkpoint], owner(2)])
  },
  'begins at zero if size differs': (storage) => beginsAtZero(storage, { size: 6 }),
  'begins at zero if modifiedAt differs': (storage) => beginsAtZero(storage, { modifiedAt: 2_000 }),
  'begins at zero if algorithm differs': (storage) => beginsAtZero(storage, { algorithm: 'md5' }),
  'begins at zero if it is fresh': (storage) => beginsAtZero(storage, {}, start),
  'keeps the bytes of the same upload': async (storage) => {
    await opened(storage, {}, hello)
    assert.equal(await textOf(storage, (await claimed(storage)).claim), 'hello')
  },
  'gives a higher token to an upload that was removed and starts again': async (storage) => {
    const first = await claimed(storage)
    await storage.transfers.remove('alice', 'a')
    assert.ok((await claimed(storage)).claim.token > first.claim.token)
  },
  'keeps the name under which the file is to be stored, which the first claim with such a name has set': async (
    storage,
  ) => {
    assert.equal((await claimed(storage)).record.storeAs, undefined)
    assert.equal((await claimed(storage, { storeAs: 'x/b' })).record.storeAs, 'x/b')
    assert.equal((await claimed(storage, { storeAs: 'c' })).record.storeAs, 'x/b')
    await storage.restart()
    assert.equal((await claimed(storage)).record.storeAs, 'x/b')
    assert.equal((await claimed(storage, { storeAs: 'c' }, start)).record.storeAs, 'c')
  },
  'is granted one after another to concurrent callers': async (storage) => {
    const all = await Promise.all([1, 2, 3, 4, 5].map((session) => claimed(storage, {}, resume, owner(session))))
    const tokens = all.map(({ claim }) => claim.token)
    assert.equal(new Set(tokens).size, tokens.length)
    const [record, ...others] = await recordsOf(storage)
    assert.deepEqual([record?.token, others], [Math.max(...tokens), []])
  },
}

const takeoverChecks: Checks<TestedStorage> = {
  'refuses the session that lost the upload, also after a restart and for another upload of the name': async (
    storage,
  ) => {
    await claimed(storage)
    const { record } = await claimed(storage, {}, takeOver, owner(2))
    assert.deepEqual(record.superseded, [owner(1).session])
    await assert.rejects(claimed(storage, {}, takeOver, owner(1)), { code: 'superseded' })
    await storage.restart()
    await assert.rejects(claimed(storage, { size: 9 }), { code: 'superseded' })
  },
  'lets that session start from the beginning': async (storage) => {
    await claimed(storage)
    await claimed(storage, {}, takeOver, owner(2))
    assert.deepEqual((await claimed(storage, {}, start)).record.superseded, [])
  },
  'supersedes neither a session that reclaims its own upload, nor one whose link has ended': async (storage) => {
    await claimed(storage)
    assert.deepEqual((await claimed(storage, {}, takeOver)).record.superseded, [])
    await claimed(storage, {}, resume, owner(2))
    assert.deepEqual((await claimed(storage)).record.superseded, [])
  },
  'remembers the last eight sessions, also when the upload begins at zero': async (storage) => {
    await claimed(storage)
    for (let session = 2; session <= 11; session++) await claimed(storage, {}, takeOver, owner(session))
    const { record } = await claimed(storage, {}, start, owner(11))
    const sessions = [3, 4, 5, 6, 7, 8, 9, 10].map((session) => owner(session).session)
    assert.deepEqual(record.superseded, sessions)
  },
}

const reject = { ...resume, onConflict: 'reject' } as const

/** Checks that a file and its folder cannot both exist, for one pair of names. */
const pairChecks = (first: string, second: string): Checks<TestedStorage> => ({
  [`is refused as ${second} next to the record of ${first}, by its name`]: async (storage) => {
    await claimed(storage, { name: first })
    const conflict = { code: 'name-conflict', message: new RegExp(first) }
    await assert.rejects(claimed(storage, { name: second }), conflict)
  },
  [`is refused as ${second} next to the file ${first}`]: async (storage) => {
    await upload(storage, { name: first })
    await assert.rejects(claimed(storage, { name: second }), { code: 'name-conflict' })
  },
})

const takenNamesChecks: Checks<TestedStorage> = {
  'is refused if existing names are rejected': async (storage) => {
    await upload(storage)
    await assert.rejects(claimed(storage, { size: 9 }, reject), { code: 'file-exists' })
    await assert.rejects(claimed(storage, { size: 9 }, { ...reject, fresh: true }), { code: 'file-exists' })
    assert.deepEqual(await recordsOf(storage), [])
  },
  'continues if it began before the name was taken': async (storage) => {
    const first = await claimed(storage, {}, reject)
    const { file } = await opened(storage, { name: 'b' }, hello)
    await file.publish('a', false)
    assert.ok((await claimed(storage, {}, reject)).claim.token > first.claim.token)
  },
  'is granted if existing names are replaced or kept': async (storage) => {
    await upload(storage)
    await claimed(storage, { size: 9 })
    await claimed(storage, { size: 9 }, { ...resume, onConflict: 'rename' })
  },
  ...pairChecks('a', 'a/b'),
  ...pairChecks('a/b', 'a'),
  ...pairChecks('a/b', 'a/b/c/d'),
  ...pairChecks('a/b/c/d', 'a/b'),
  'is granted next to names with the same beginning, and next to those of other users': async (storage) => {
    await upload(storage, { name: 'a/b' })
    for (const want of [{ name: 'a.b' }, { name: 'a/bc' }, { name: 'a0' }, { user: 'bob' }]) {
      await claimed(storage, want)
    }
  },
  'is granted once to concurrent claims of both names': async (storage) => {
    const answers = await Promise.allSettled([claimed(storage), claimed(storage, { name: 'a/b' })])
    const outcomes = answers.map(({ status }) => status).sort()
    assert.deepEqual(outcomes, ['fulfilled', 'rejected'])
  },
  'is refused if its name could escape its folder': async (storage) => {
    await assert.rejects(claimed(storage, { name: '../a' }), { code: 'bad-name' })
    await assert.rejects(claimed(storage, { user: '..' }), { code: 'bad-name' })
  },
}

/** The promises of `TransferStore.claim`. */
export const claimSuites: readonly StorageSuite[] = [
  ['claiming an upload in a storage', claimingChecks],
  ['taking over an upload in a storage', takeoverChecks],
  ['an upload whose name is taken in a storage', takenNamesChecks],
]
