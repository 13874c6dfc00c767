import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { Mailboxes } from '../../../lib/storage/mailboxes/mailboxes.ts'
import { Draw } from '../../../lib/testing/chance.ts'
import { burstOf, type Call, drawCall, MailModel, shownBy } from '../../../lib/testing/storage/mailModel.ts'
import { spec } from '../../support/spec.ts'
import { BrittleJournal, type Fate } from './brittleJournal.ts'

const call: fc.Arbitrary<Call> = fc.integer().map((seed) => drawCall(new Draw(seed)))
const bursts = fc.array(call, { minLength: 1, maxLength: 8 }).map(burstOf)
const kept = fc.nat({ max: 9 })
const fates: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 12, arbitrary: fc.constant('durable' as const) },
  { weight: 1, arbitrary: fc.constant('full' as const) },
  { weight: 1, arbitrary: kept.map((fails) => ({ fails })) },
  { weight: 2, arbitrary: kept.map((dies) => ({ dies })) },
)

interface Turn {
  readonly calls: readonly Call[]
  readonly fate: Fate
  readonly dropDies: boolean
}

const turns: fc.Arbitrary<readonly Turn[]> = fc.array(
  fc.record({ calls: bursts, fate: fates, dropDies: fc.nat({ max: 19 }).map((die) => die === 0) }),
  { minLength: 1, maxLength: 80, size: 'max' },
)

/** Mailboxes on a disk that outlives them, and a model of them. */
class Scene {
  readonly disk = new MemoryJournal(512)
  model = new MailModel()
  journal = new BrittleJournal(this.disk)
  mailboxes = new Mailboxes()

  async open(): Promise<void> {
    this.journal = new BrittleJournal(this.disk)
    this.mailboxes = new Mailboxes()
    await this.mailboxes.open(this.journal, nodePlatform())
  }

  async turn({ calls, fate, dropDies }: Turn): Promise<void> {
    this.journal.fates.push(fate)
    if (dropDies) this.journal.drops = 0
    // The model after this number of calls.
    const models = [this.model.copy()]
    let settled = 0
    let acknowledged = 0
    const failed = new Set<unknown>()
    for (const [at, call] of calls.entries()) {
      // So some of them arrive during the commit of a group.
      for (let hops = 0; hops < 3; hops++) await undefined
      const { done, expected } = this.model.make(call, this.mailboxes)
      const former = textOf(models.at(-1))
      models.push(this.model.copy())
      // A call that changes nothing is answered before earlier calls.
      const changed = textOf(this.model) !== former
      void done
        .catch(({ code }) => code)
        .then((outcome) => {
          settled++
          const isFault = outcome === 'internal' || (outcome === 'disk-full' && expected !== 'disk-full')
          if (isFault) failed.add(outcome)
          else assert.deepEqual(outcome, expected)
          if (changed && failed.size === 0) acknowledged = at + 1
        })
    }
    while (settled < calls.length && !this.journal.isDead) await setImmediate()
    if (this.journal.isDead || failed.has('internal')) return this.#reopen(models, acknowledged)
    const { time, givenSeq } = this.model
    this.model = Object.assign(models[failed.size > 0 ? acknowledged : calls.length] ?? this.model, { time, givenSeq })
    // A dead process does not answer.
    const shown = await Promise.race([shownBy(this.mailboxes), this.journal.death])
    if (shown === undefined) await this.#reopen([this.model], 0)
    else assert.deepEqual(shown, this.model.shown())
  }

  /** After the process has died, all acknowledged changes exist, and some of the following ones, in their order. */
  async #reopen(models: readonly MailModel[], acknowledged: number): Promise<void> {
    this.journal.die()
    await this.open()
    const shown = JSON.stringify(await shownBy(this.mailboxes))
    const found = models.find((model, at) => at >= acknowledged && textOf(model) === shown)
    assert.ok(found, `${shown} is not what ${acknowledged} calls or more have left: ${models.map(textOf).join('\n')}`)
    this.model = Object.assign(found, { time: this.model.time, givenSeq: found.lastSeq })
  }
}

const runs = 60
const textOf = (model: MailModel | undefined) => JSON.stringify(model?.shown())

spec('mailboxes after a death of the process or a fault of the disk', (it) => {
  it('have all acknowledged changes, and the other changes up to some point', async () => {
    let dropped = 0
    await fc.assert(
      fc.asyncProperty(turns, async (turns) => {
        const scene = new Scene()
        await scene.open()
        for (const turn of turns) await scene.turn(turn)
        if ((scene.disk.segments[0]?.number ?? 1) > 1) dropped++
      }),
      { numRuns: runs },
    )
    assert.ok(dropped > runs / 4, `segments were dropped in ${dropped} of ${runs} runs`)
  })
})
