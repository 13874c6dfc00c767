import assert from 'node:assert/strict'
import type { Claim } from '../../ports/storage.ts'
import type { Fixture } from './fixture.ts'
import { contentOf, fileOf, owner, recordsOf, wanted } from './steps.ts'

interface Kept {
  readonly size: number
  readonly session: number
  readonly superseded: readonly number[]
  readonly checkpoint: number | undefined
  readonly verified: boolean
  readonly content: string
}

interface Given {
  readonly name: string
  readonly claim: Claim
}

/** A simple model of uploads of two names: their records, stored files, completion markers and present claims. */
export class ClaimModel {
  readonly kept = new Map<string, Kept>()
  readonly stored = new Map<string, number>()
  readonly noted = new Map<string, number>()
  readonly holding = new Map<string, Claim>()
  /** Every claim since the storage was opened. */
  given: Given[] = []
  lastToken = 0

  drop(name: string): void {
    this.kept.delete(name)
    this.holding.delete(name)
  }

  shown(): unknown {
    return [...this.kept]
      .map(([name, { content: _, ...kept }]) => ({ name, ...kept, token: this.holding.get(name)?.token }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }
}

export interface Step {
  readonly text: string
  run(model: ClaimModel, fixture: Fixture): Promise<void>
}

/** A step after which the storage must equal the model. */
function step(text: string, run: (model: ClaimModel, fixture: Fixture) => Promise<void>): Step {
  return {
    text,
    async run(model, fixture) {
      await run(model, fixture)
      const records = (await recordsOf(fixture.storage)).map(
        ({ name, size, owner, superseded, checkpoints, ...rest }) => ({
          name,
          size,
          session: owner.node,
          superseded: superseded.map((session) => Number.parseInt(session, 16)),
          checkpoint: checkpoints.at(-1)?.offset,
          verified: rest.verified !== undefined,
          token: rest.token,
        }),
      )
      assert.deepEqual(records, model.shown())
    },
  }
}

export interface Wish {
  readonly name: string
  readonly size: number
  readonly by: number
  readonly fresh: boolean
  readonly takeOver: boolean
  readonly onConflict: 'replace' | 'reject'
}

export const claim = (wish: Wish) =>
  step(`claim ${JSON.stringify(wish)}`, async (model, { storage }) => {
    const { name, size, by, fresh, takeOver, onConflict } = wish
    const want = { ...wanted, name, size }
    const asked = storage.transfers.claim(want, owner(by), { fresh, takeOver, onConflict, at: 1_000_000 })
    const before = model.kept.get(name)
    const same = before?.size === size
    if (!fresh && before?.superseded.includes(by)) return assert.rejects(asked, { code: 'superseded' })
    if ((fresh || !same) && model.noted.get(name) === size) {
      assert.deepEqual(await asked, { completed: fileOf({ name, size }) })
      return model.drop(name)
    }
    if (!same && onConflict === 'reject' && model.stored.has(name))
      return assert.rejects(asked, { code: 'file-exists' })
    const answer = await asked
    assert.ok('claim' in answer && answer.claim.token > model.lastToken, 'a token is higher than all before')
    model.lastToken = answer.claim.token
    model.holding.set(name, answer.claim)
    model.given.push({ name, claim: answer.claim })
    const kept = afterClaim(before, wish)
    model.kept.set(name, kept)
    if (!kept.verified) assert.equal(await contentOf(storage, answer.claim), kept.content)
  })

/** The record after a claim that a storage has granted. */
function afterClaim(before: Kept | undefined, { size, by, fresh, takeOver }: Wish): Kept {
  const former = before ? [...before.superseded, ...(takeOver ? [before.session] : [])] : []
  const superseded = [...new Set(former.filter((session) => session !== by))].slice(-8)
  if (before?.size === size && !fresh) return { ...before, session: by, superseded }
  return { size, checkpoint: undefined, verified: false, content: '', session: by, superseded }
}

/** Returns a step under a claim, which only the present claim of its name may take. */
const under = (
  text: string,
  choice: number,
  run: (given: Given, fixture: Fixture, kept: Kept) => Promise<void>,
  then: (model: ClaimModel, name: string, kept: Kept) => void,
) =>
  step(`${text} under claim ${choice}`, async (model, fixture) => {
    const given = model.given[choice % Math.max(1, model.given.length)]
    if (!given) return
    const kept = model.kept.get(given.name)
    if (kept && model.holding.get(given.name) === given.claim) {
      await run(given, fixture, kept)
      then(model, given.name, kept)
    } else {
      await assert.rejects(run(given, fixture, { ...anything, verified: false }), { code: 'superseded' })
    }
  })

const anything: Kept = { size: 5, session: 1, superseded: [], checkpoint: undefined, verified: false, content: '' }
const bytesOf = (size: number) => new TextEncoder().encode('hello!'.slice(0, size))

async function write({ claim }: Given, { storage }: Fixture, { size, verified }: Kept): Promise<void> {
  if (verified) return
  await using file = await storage.files.open(claim)
  await file.truncate(0)
  await file.write(0, [bytesOf(size)])
  await file.flush()
}

const written = (kept: Kept): Kept => (kept.verified ? kept : { ...kept, content: 'hello!'.slice(0, kept.size) })

export const checkpoint = (choice: number, offset: number) =>
  under(
    `a checkpoint at ${offset}`,
    choice,
    ({ claim }, { storage }) => storage.transfers.checkpoint(claim, [{ offset, digest: Uint8Array.of(1) }], 1_000_001),
    (model, name, kept) => model.kept.set(name, { ...kept, checkpoint: offset }),
  )

export const fillAndVerify = (choice: number) =>
  under(
    'all is verified',
    choice,
    async (given, fixture, kept) => {
      await write(given, fixture, kept)
      await fixture.storage.transfers.verified(given.claim, fileOf({ name: given.name, size: kept.size }))
    },
    (model, name, kept) => model.kept.set(name, { ...written(kept), verified: true }),
  )

export const complete = (choice: number) =>
  under(
    'it is completed',
    choice,
    async (given, fixture, kept) => {
      const { transfers, files } = fixture.storage
      await write(given, fixture, kept)
      await transfers.verified(given.claim, fileOf({ name: given.name, size: kept.size }))
      await using file = await files.open(given.claim)
      assert.equal(await file.publish(given.name, true), true)
      await transfers.complete(given.claim, 1e12)
    },
    (model, name, { size }) => {
      model.drop(name)
      model.stored.set(name, size)
      model.noted.set(name, size)
    },
  )

export const writeOnly = (choice: number) =>
  under('bytes are written', choice, write, (model, name, kept) => model.kept.set(name, written(kept)))

export const remove = (name: string) =>
  step(`remove ${name}`, async (model, { storage }) => {
    assert.equal(await storage.transfers.remove(wanted.user, name), model.kept.has(name))
    await storage.files.remove(wanted.user, name)
    model.drop(name)
  })

export const forget = (name: string) =>
  step(`forget ${name}`, async (model, { storage }) => {
    await storage.transfers.forget(wanted.user, name)
    model.noted.delete(name)
  })

export const look = (name: string, size: number) =>
  step(`is ${name} of ${size} completed`, async (model, { storage }) => {
    const noted = model.noted.get(name) === size ? fileOf({ name, size }) : undefined
    assert.deepEqual(await storage.transfers.completed({ ...wanted, name, size }), noted)
    assert.equal(await storage.files.used(wanted.user, name), model.stored.get(name) ?? 0)
  })

/** Restarts the storage, which ends all claims. */
export const restart = step('restart', async (model, fixture) => {
  await fixture.restart()
  model.given = []
  model.lastToken = Math.max(0, ...[...model.holding.values()].map(({ token }) => token))
})
