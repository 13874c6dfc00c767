import assert from 'node:assert/strict'
import fc from 'fast-check'
import { fileInstance } from '../../lib/core/instance.ts'
import { type Holder, type Instance, Pool } from '../../lib/core/pool.ts'
import type { ErrorCode } from '../../lib/errors.ts'
import { spec } from '../support/spec.ts'

const poolOf = (size: number) => new Pool(fileInstance, 'IDLE', size)
type FilePool = ReturnType<typeof poolOf>

const holder = (node: number, session = `session ${node}`): Holder => ({ node, session })

function assigned(pool: FilePool, by: Holder): Instance<keyof typeof fileInstance.table> {
  return pool.assign(by, 'StartPostFileReq') ?? assert.fail('no instance is idle')
}

spec('a pool of instances', (it) => {
  it('numbers them from 1: number 0 is the daemon', () => {
    const pool = poolOf(3)
    assert.deepEqual(
      [1, 2, 3].map((node) => assigned(pool, holder(node)).number),
      [1, 2, 3],
    )
    assert.throws(() => pool.held(0, holder(1)), { code: 'instance-lost' })
    assert.throws(() => pool.held(4, holder(1)), { code: 'instance-lost' })
  })

  it('assigns none if none is idle', () => {
    const pool = poolOf(1)
    const instance = assigned(pool, holder(1))
    assert.equal(pool.assign(holder(2), 'StartPostFileReq'), undefined)
    assert.deepEqual([pool.busy, pool.size], [1, 1])
    pool.release(instance, 'PauseFileReq')
    assert.equal(assigned(pool, holder(2)).number, 1)
  })

  it('assigns the one that has been idle longest', () => {
    const pool = poolOf(3)
    const [a, b] = [assigned(pool, holder(1)), assigned(pool, holder(1))]
    pool.release(b, 'PauseFileReq')
    pool.release(a, 'PauseFileReq')
    assert.deepEqual(
      [1, 2, 3].map(() => assigned(pool, holder(2)).number),
      [3, b.number, a.number],
    )
  })

  it('shows the state and the holder of an instance', () => {
    const pool = poolOf(1)
    const instance = assigned(pool, holder(7))
    assert.deepEqual([instance.state, instance.holder], ['RECEIVE_FILE', holder(7)])
    pool.release(instance, 'linkLost')
    assert.deepEqual([instance.state, instance.holder], ['IDLE', undefined])
  })

  it('knows an instance by the node that holds it', () => {
    const pool = poolOf(2)
    const instance = assigned(pool, holder(7, 's'))
    assert.equal(pool.held(1, holder(7)), instance)
    assert.throws(() => pool.held(1, holder(8, 's')), { code: 'instance-lost' })
    assert.throws(() => pool.held(2, holder(7, 's')), { code: 'instance-lost' })
  })

  it('returns the latest reason why a session lost an instance, also on another link', () => {
    const pool = poolOf(1)
    pool.release(assigned(pool, holder(1, 's')), 'CancelFileReq', 'cancelled')
    assert.throws(() => pool.held(1, holder(1, 's')), { code: 'cancelled' })
    assert.equal(pool.denial(1, holder(2, 's')).code, 'cancelled')
    pool.release(assigned(pool, holder(2, 's')), 'refused', 'disk-full')
    assert.equal(pool.denial(1, holder(1, 's')).code, 'disk-full')
    assert.equal(pool.denial(1, holder(1, 'another')).code, 'instance-lost')
  })

  it('remembers the last four holders of an instance', () => {
    const pool = poolOf(1)
    for (const node of [1, 2, 3, 4, 5]) pool.release(assigned(pool, holder(node)), 'CancelFileReq', 'cancelled')
    const told = [1, 2, 3, 4, 5].map((node) => pool.denial(1, holder(node)).code)
    assert.deepEqual(told, ['instance-lost', 'cancelled', 'cancelled', 'cancelled', 'cancelled'])
  })

  it('moves a busy instance to another holder, with a reason for the former one', () => {
    const pool = poolOf(1)
    const instance = assigned(pool, holder(1))
    pool.move(instance, 'takenOver', holder(2), 'superseded')
    assert.equal(pool.held(1, holder(2)), instance)
    assert.throws(() => pool.held(1, holder(1)), { code: 'superseded' })
    assert.deepEqual([instance.state, pool.busy], ['RECEIVE_FILE', 1])
  })

  it('changes nothing for an event without a cell, or with the wrong next state', () => {
    const pool = poolOf(1)
    const instance = assigned(pool, holder(1))
    assert.throws(() => pool.release(instance, 'takenOver'), { code: 'internal' })
    assert.throws(() => pool.move(instance, 'linkLost', holder(2), 'superseded'), { code: 'internal' })
    assert.throws(() => pool.release(instance, 'StartPostFileReq'), { code: 'internal' })
    assert.deepEqual([instance.state, instance.holder, pool.busy], ['RECEIVE_FILE', holder(1), 1])
    pool.release(instance, 'linkLost')
    assert.throws(() => pool.release(instance, 'linkLost'), { code: 'internal' })
    assert.throws(() => pool.move(instance, 'takenOver', holder(2), 'superseded'), { code: 'internal' })
    assert.throws(() => pool.assign(holder(2), 'linkLost'), { code: 'internal' })
    assert.deepEqual([instance.state, instance.holder, pool.busy], ['IDLE', undefined, 0])
  })
})

/** What a pool is, told simply: who holds each number, the idle ones in order, and everyone who ever lost one. */
interface Model {
  readonly holders: Map<number, Holder>
  idle: number[]
  readonly lost: { readonly number: number; readonly session: string; readonly why: ErrorCode }[]
}

function dismiss(model: Model, number: number, why: ErrorCode): void {
  model.lost.push({ number, session: model.holders.get(number)?.session ?? '', why })
  model.holders.delete(number)
}

/** What the model says that `by` is told of an instance. */
function told(model: Model, number: number, by: Holder): ErrorCode | 'held' {
  if (model.holders.get(number)?.node === by.node) return 'held'
  const former = model.lost.filter((loss) => loss.number === number).slice(-4)
  return former.findLast(({ session }) => session === by.session)?.why ?? 'instance-lost'
}

type Step = fc.Command<Model, FilePool>

class Assign implements Step {
  readonly #by: Holder
  readonly #fit: readonly number[]
  constructor(by: Holder, fit: readonly number[]) {
    this.#by = by
    this.#fit = fit
  }
  check = () => true
  run(model: Model, pool: FilePool): void {
    const number = model.idle.find((one) => this.#fit.includes(one))
    model.idle = model.idle.filter((one) => one !== number)
    assert.equal(pool.assign(this.#by, 'ContinuePostFileReq', (one) => this.#fit.includes(one))?.number, number)
    if (number !== undefined) model.holders.set(number, this.#by)
  }
  toString = () => `assign one of ${this.#fit} to ${this.#by.node}`
}

class Leave implements Step {
  readonly #number: number
  readonly #why: ErrorCode
  constructor(number: number, why: ErrorCode) {
    this.#number = number
    this.#why = why
  }
  check = (model: Readonly<Model>) => model.holders.has(this.#number)
  run(model: Model, pool: FilePool): void {
    const by = model.holders.get(this.#number) ?? assert.fail()
    pool.release(pool.held(this.#number, by), 'refused', this.#why)
    dismiss(model, this.#number, this.#why)
    model.idle.push(this.#number)
  }
  toString = () => `release ${this.#number}: ${this.#why}`
}

class Move implements Step {
  readonly #number: number
  readonly #to: Holder
  constructor(number: number, to: Holder) {
    this.#number = number
    this.#to = to
  }
  check = (model: Readonly<Model>) => model.holders.has(this.#number)
  run(model: Model, pool: FilePool): void {
    const by = model.holders.get(this.#number) ?? assert.fail()
    pool.move(pool.held(this.#number, by), 'takenOver', this.#to, 'superseded')
    dismiss(model, this.#number, 'superseded')
    model.holders.set(this.#number, this.#to)
  }
  toString = () => `move ${this.#number} to ${this.#to.node}`
}

class Ask implements Step {
  readonly #number: number
  readonly #by: Holder
  constructor(number: number, by: Holder) {
    this.#number = number
    this.#by = by
  }
  check = () => true
  run(model: Model, pool: FilePool): void {
    const code = told(model, this.#number, this.#by)
    if (code === 'held') assert.equal(pool.held(this.#number, this.#by).number, this.#number)
    else assert.throws(() => pool.held(this.#number, this.#by), { code })
    if (code !== 'held') assert.equal(pool.denial(this.#number, this.#by).code, code)
    assert.deepEqual(pool.holderOf(this.#number), model.holders.get(this.#number))
    assert.equal(pool.busy, model.holders.size)
  }
  toString = () => `ask for ${this.#number} as ${this.#by.node}`
}

spec('a pool of instances, in any order of events,', (it) => {
  it('behaves as its model', () => {
    const size = 3
    const number = fc.integer({ min: 1, max: size })
    const by = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom('a', 'b')).map(([node, s]) => holder(node, s))
    const fit = fc.oneof(fc.constant([1, 2, 3]), fc.subarray([1, 2, 3]))
    const why = fc.constantFrom<ErrorCode[]>('instance-lost', 'cancelled', 'disk-full')
    const steps = fc.commands(
      [
        fc.tuple(by, fit).map(([one, numbers]) => new Assign(one, numbers)),
        fc.tuple(number, why).map(([n, code]) => new Leave(n, code)),
        fc.tuple(number, by).map(([n, to]) => new Move(n, to)),
        fc.tuple(fc.nat(size + 1), by).map(([n, one]) => new Ask(n, one)),
      ],
      { maxCommands: 60 },
    )
    const property = fc.property(steps, (commands) => {
      const model = { holders: new Map(), idle: [1, 2, 3], lost: [] }
      fc.modelRun(() => ({ model, real: poolOf(size) }), commands)
    })
    fc.assert(property, { numRuns: 300 })
  })
})
