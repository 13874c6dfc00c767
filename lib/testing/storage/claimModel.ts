import assert from 'node:assert/strict'
import type { Claim, TransferRecord } from '../../ports/storage.ts'
import { checkRandomRuns, type Draw } from '../chance.ts'
import type { Checks } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { fileOf, isEarlierUpload, owner, recordsOf, textBytes, textOf, wanted } from './steps.ts'

/** The modelled record of an upload. Its claim is the present one. */
interface ModelRecord {
  readonly claim: Claim
  readonly size: number
  readonly session: number
  readonly superseded: readonly number[]
  checkpoint: number | undefined
  verified: boolean
  content: string
}

const emptyRecord = { size: 5, session: 1, superseded: [], checkpoint: undefined, verified: false, content: '' }

/** A simple model of uploads of two names. */
class ClaimModel {
  readonly records = new Map<string, ModelRecord>()
  /** The sizes of the stored files. */
  readonly stored = new Map<string, number>()
  /** The sizes in the completion markers. */
  readonly completed = new Map<string, number>()
  /** Every claim since the storage was opened. */
  granted: Claim[] = []
  lastToken = 0

  shown(): unknown {
    return [...this.records]
      .map(([name, { content: _, claim, ...record }]) => ({ name, ...record, token: claim.token }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }
}

const shownRecord = ({ name, size, owner, superseded, checkpoints, verified, token }: TransferRecord) => ({
  name,
  size,
  session: owner.node,
  superseded: superseded.map((session) => Number.parseInt(session, 16)),
  checkpoint: checkpoints.at(-1)?.offset,
  verified: verified !== undefined,
  token,
})

/** A step after which the storage must equal the model. */
interface Step {
  readonly text: string
  run(model: ClaimModel, storage: TestedStorage): Promise<void>
}

type Wish = ReturnType<typeof drawWish>

const drawName = (draw: Draw) => draw.pick(['a', 'b'])
const drawSize = (draw: Draw) => draw.pick([5, 5, 6])

const drawWish = (draw: Draw) => ({
  name: drawName(draw),
  size: drawSize(draw),
  by: draw.from(1, 11),
  fresh: draw.once(2),
  takeOver: draw.once(2),
  onConflict: draw.pick(['replace', 'replace', 'reject'] as const),
})

const step = (text: string, run: Step['run']): Step => ({ text, run })

const claim = (wish: Wish) =>
  step(`claim ${JSON.stringify(wish)}`, async (model, storage) => {
    const { name, size, by, fresh, takeOver, onConflict } = wish
    const options = { fresh, takeOver, onConflict, at: 1_000_000 }
    const asked = storage.transfers.claim({ ...wanted, name, size }, owner(by), options)
    const before = model.records.get(name)
    const same = before?.size === size
    const refusal = refusalOf(before, wish)
    if (refusal) return assert.rejects(asked, refusal)
    if ((fresh || !same) && model.completed.get(name) === size) {
      assert.deepEqual(await asked, { completed: fileOf({ name, size }) })
      model.records.delete(name)
      return
    }
    if (!same && onConflict === 'reject' && model.stored.has(name)) {
      return assert.rejects(asked, { code: 'file-exists' })
    }
    const answer = await asked
    assert.ok('claim' in answer && answer.claim.token > model.lastToken, 'a token is higher than all before')
    model.lastToken = answer.claim.token
    model.granted.push(answer.claim)
    const record = afterClaim(before, wish, answer.claim)
    model.records.set(name, record)
    if (!record.verified) assert.equal(await textOf(storage, answer.claim), record.content)
  })

/** Returns a check of the error with which the present record of an upload makes a storage refuse a claim, if it does. */
function refusalOf(before: ModelRecord | undefined, { size, by, fresh }: Wish) {
  if (!fresh && before?.superseded.includes(by)) return (error: { code?: string }) => error.code === 'superseded'
  return before?.verified && (fresh || before.size !== size) ? isEarlierUpload : undefined
}

/** Returns the record after a claim that a storage has granted. */
function afterClaim(before: ModelRecord | undefined, { size, by, fresh, takeOver }: Wish, claim: Claim): ModelRecord {
  const former = before ? [...before.superseded, ...(takeOver ? [before.session] : [])] : []
  const superseded = [...new Set(former.filter((session) => session !== by))].slice(-8)
  const kept = before?.size === size && !fresh ? before : emptyRecord
  return { ...kept, claim, size, session: by, superseded }
}

/** Returns a step under a claim, which only the present claim of its name may take. It changes the model at its end. */
const under = (
  text: string,
  choice: number,
  run: (record: ModelRecord, storage: TestedStorage, model: ClaimModel) => Promise<void>,
) =>
  step(`${text} under claim ${choice}`, async (model, storage) => {
    const claim = model.granted[choice % Math.max(1, model.granted.length)]
    if (!claim) return
    const record = model.records.get(claim.name)
    if (record?.claim === claim) await run(record, storage, model)
    else await assert.rejects(run({ ...emptyRecord, claim }, storage, model), { code: 'superseded' })
  })

async function write(record: ModelRecord, { files }: TestedStorage): Promise<void> {
  if (record.verified) return
  const content = 'hello!'.slice(0, record.size)
  await using file = await files.open(record.claim)
  await file.truncate(0)
  await file.write(0, [textBytes(content)])
  await file.flush()
  record.content = content
}

async function verify(record: ModelRecord, storage: TestedStorage): Promise<void> {
  await write(record, storage)
  await storage.transfers.verified(record.claim, fileOf({ name: record.claim.name, size: record.size }))
  record.verified = true
}

async function complete(record: ModelRecord, storage: TestedStorage, model: ClaimModel): Promise<void> {
  const { claim, size } = record
  const { name } = claim
  await verify(record, storage)
  await using file = await storage.files.open(claim)
  assert.equal(await file.publish(name, true), true)
  await storage.transfers.complete(claim, 1e12)
  await storage.transfers.reported([{ user: claim.user, name }])
  model.records.delete(name)
  model.stored.set(name, size)
  model.completed.set(name, size)
}

const checkpoint = (choice: number, offset: number) =>
  under(`a checkpoint at ${offset}`, choice, async (record, { transfers }) => {
    await transfers.checkpoint(record.claim, [{ offset, digest: Uint8Array.of(1) }], 1_000_001)
    record.checkpoint = offset
  })

const remove = (name: string) =>
  step(`remove ${name}`, async (model, { transfers, files }) => {
    assert.equal(await transfers.remove(wanted.user, name), model.records.delete(name))
    await files.remove(wanted.user, name)
  })

const forget = (name: string, size: number) =>
  step(`forget ${name} of ${size}`, async (model, { transfers }) => {
    await transfers.forget({ ...wanted, name, size }, fileOf().digest)
    if (model.completed.get(name) === size) model.completed.delete(name)
  })

const look = (name: string, size: number) =>
  step(`is ${name} of ${size} completed`, async (model, { transfers, files }) => {
    const completed = model.completed.get(name) === size ? fileOf({ name, size }) : undefined
    assert.deepEqual(await transfers.completed({ ...wanted, name, size }), completed)
    assert.equal(await files.used(wanted.user, name), model.stored.get(name) ?? 0)
  })

/** Restarts the storage, which ends all claims. */
const restart = step('restart', async (model, storage) => {
  await storage.restart()
  model.granted = []
  model.lastToken = Math.max(0, ...[...model.records.values()].map(({ claim }) => claim.token))
})

/** Returns random claims, and steps under them. */
function drawSteps(draw: Draw): readonly Step[] {
  const choice = () => draw.from(0, 20)
  const claiming = () => claim(drawWish(draw))
  const kinds: readonly (() => Step)[] = [
    claiming,
    claiming,
    claiming,
    () => checkpoint(choice(), draw.from(0, 5)),
    () => under('bytes are written', choice(), write),
    () => under('all is verified', choice(), verify),
    () => under('it is completed', choice(), complete),
    () => remove(drawName(draw)),
    () => forget(drawName(draw), drawSize(draw)),
    () => look(drawName(draw), drawSize(draw)),
    () => restart,
  ]
  return draw.some(1, 40, () => draw.pick(kinds)())
}

/** Returns the promises of claims under random steps, compared with a model. */
export function claimModelChecks(open: () => Promise<TestedStorage>, seed: number): Checks<undefined> {
  const check = async (steps: readonly Step[]) => {
    await using storage = await open()
    const model = new ClaimModel()
    for (const { run } of steps) {
      await run(model, storage)
      assert.deepEqual((await recordsOf(storage)).map(shownRecord), model.shown())
    }
  }
  return {
    'equal a simple model after random steps, and a superseded claim writes nothing': () =>
      checkRandomRuns(seed, { runs: 15, draw: drawSteps, check, textOf: ({ text }) => text }),
  }
}
