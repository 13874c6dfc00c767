import assert from 'node:assert/strict'
import { deferred } from '../../lib/runtime/deferred.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { Mutex } from '../../lib/runtime/mutex.ts'
import { spec } from '../support/spec.ts'

spec('jobs one after another', (it) => {
  it('run in the order in which they came, each after the end of the one before', async () => {
    const serial = new Mutex()
    const order: string[] = []
    const gates = [deferred<void>(), deferred<void>()]
    const jobs = gates.map(({ promise }, at) =>
      serial.run(async () => {
        order.push(`begin ${at}`)
        await promise
        order.push(`end ${at}`)
      }),
    )
    gates[1]?.resolve()
    await new Promise((go) => setImmediate(go))
    assert.deepEqual(order, ['begin 0'])
    gates[0]?.resolve()
    await Promise.all(jobs)
    assert.deepEqual(order, ['begin 0', 'end 0', 'begin 1', 'end 1'])
  })

  it('give what they return, or why they failed, and hold nobody up', async () => {
    const serial = new Mutex()
    const failed = serial.run(() => Promise.reject(new Error('why')))
    const thrown = serial.run(() => {
      throw new Error('at once')
    })
    const plain = serial.run(() => 5)
    await assert.rejects(failed, /why/u)
    await assert.rejects(thrown, /at once/u)
    assert.equal(await plain, 5)
  })

  it('are counted until they have ended', async () => {
    const serial = new Mutex()
    assert.equal(serial.waiting, 0)
    const jobs = [serial.run(() => 1), serial.run(() => Promise.reject(new Error('why')))]
    assert.equal(serial.waiting, 2)
    await Promise.allSettled(jobs)
    assert.equal(serial.waiting, 0)
  })

  it('are waited for where it is asked to be idle, failed ones too', async () => {
    const serial = new Mutex()
    const gate = deferred<void>()
    let ended = false
    const job = serial.run(async () => {
      await gate.promise
      ended = true
      throw new Error('why')
    })
    gate.resolve()
    await serial.idle()
    assert.equal(ended, true)
    await assert.rejects(job)
  })
})

spec('a deferred promise', (it) => {
  it('is settled from outside', async () => {
    const one = deferred<number>()
    one.resolve(1)
    assert.equal(await one.promise, 1)
  })

  it('may be rejected without anybody listening', async () => {
    const one = deferred<number>()
    one.reject(new Error('why'))
    await new Promise((go) => setImmediate(go))
    await assert.rejects(one.promise, /why/u)
  })
})

spec('hexadecimal digits', (it) => {
  it('are two for each byte, in lower case', () => {
    assert.equal(hex(Uint8Array.of(0, 9, 10, 255)), '00090aff')
    assert.equal(hex(new Uint8Array(0)), '')
  })
})
