import assert from 'node:assert/strict'
import { deferred } from '../../lib/runtime/deferred.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { ConflictMutex, KeyedMutex, Mutex } from '../../lib/runtime/mutex.ts'
import { spec } from '../support/spec.ts'

spec('jobs one after another', (it) => {
  it('run in the order of the calls, each after the end of the previous one', async () => {
    const mutex = new Mutex()
    const order: string[] = []
    const gates = [deferred<void>(), deferred<void>()]
    const jobs = gates.map(({ promise }, at) =>
      mutex.run(async () => {
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

  it('settle as the job does; a failed job does not stop the next one', async () => {
    const mutex = new Mutex()
    const failed = mutex.run(() => Promise.reject(new Error('why')))
    const thrown = mutex.run(() => {
      throw new Error('at once')
    })
    const plain = mutex.run(() => 5)
    await assert.rejects(failed, /why/u)
    await assert.rejects(thrown, /at once/u)
    assert.equal(await plain, 5)
  })

  it('are counted until they have ended', async () => {
    const mutex = new Mutex()
    assert.equal(mutex.waiting, 0)
    const jobs = [mutex.run(() => 1), mutex.run(() => Promise.reject(new Error('why')))]
    assert.equal(mutex.waiting, 2)
    await Promise.allSettled(jobs)
    assert.equal(mutex.waiting, 0)
  })

  it('have ended when idle() resolves, failed ones too', async () => {
    const mutex = new Mutex()
    const gate = deferred<void>()
    let ended = false
    const job = mutex.run(async () => {
      await gate.promise
      ended = true
      throw new Error('why')
    })
    gate.resolve()
    await mutex.idle()
    assert.equal(ended, true)
    await assert.rejects(job)
  })
})

spec('a mutex that other work holds', (it) => {
  it('runs the next job after that work', async () => {
    const mutex = new Mutex()
    const work = deferred<void>()
    mutex.hold(work.promise)
    const log: string[] = []
    const job = mutex.run(() => log.push('job'))
    await turn()
    assert.deepEqual([log, mutex.waiting], [[], 2])
    mutex.release()
    work.resolve()
    await job
    await mutex.idle()
    assert.deepEqual([log, mutex.waiting], [['job'], 0])
  })
})

const turn = () => new Promise((go) => setImmediate(go))

const never = () => false

spec('jobs with a key and a name', (it) => {
  it('run at once if the key differs or the names do not conflict', async () => {
    const mutex = new ConflictMutex()
    const gate = deferred<void>()
    const first = mutex.run('alice', 'a', never, () => gate.promise)
    const job = async () => {}
    await mutex.run('alice', 'b', never, job)
    await mutex.run('bob', 'a', () => true, job)
    gate.resolve()
    await first
  })

  it('run one after another if the names conflict, also after a failed one', async () => {
    const mutex = new ConflictMutex()
    const log: string[] = []
    const gate = deferred<void>()
    const conflicts = (other: string) => other.startsWith('a')
    const failing = async () => {
      await gate.promise
      log.push('a')
      throw new Error('disk full')
    }
    const first = mutex.run('alice', 'a', conflicts, failing)
    const second = mutex.run('alice', 'a/b', conflicts, async () => log.push('a/b'))
    const third = mutex.run('alice', 'a/b/c', conflicts, async () => log.push('a/b/c'))
    await turn()
    assert.deepEqual(log, [])
    gate.resolve()
    await assert.rejects(first, /disk full/u)
    await Promise.all([second, third])
    assert.deepEqual(log, ['a', 'a/b', 'a/b/c'])
  })
})

spec('a job with several keys', (it) => {
  it('runs after the earlier jobs of all its keys, and before the later ones', async () => {
    const mutex = new KeyedMutex()
    const log: string[] = []
    const gates = [deferred<void>(), deferred<void>()]
    const first = mutex.run('a', () => gates[0]?.promise ?? Promise.resolve())
    const both = mutex.runAll(['a', 'b'], async () => {
      log.push('both')
      await gates[1]?.promise
    })
    const last = mutex.run('b', async () => log.push('b'))
    await turn()
    assert.deepEqual([log, mutex.isBusy('a'), mutex.isBusy('c')], [[], true, false])
    gates[0]?.resolve()
    await turn()
    assert.deepEqual(log, ['both'])
    gates[1]?.resolve()
    await Promise.all([first, both, last])
    assert.deepEqual([log, mutex.isBusy('a'), mutex.isBusy('b')], [['both', 'b'], false, false])
  })
})

spec('a deferred promise', (it) => {
  it('is settled from outside', async () => {
    const one = deferred<number>()
    one.resolve(1)
    assert.equal(await one.promise, 1)
  })

  it('can be rejected without a listener', async () => {
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
    assert.equal(hex(new Uint8Array(200_000).fill(0xa5)), 'a5'.repeat(200_000))
  })
})
