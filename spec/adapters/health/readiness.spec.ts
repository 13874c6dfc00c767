import assert from 'node:assert/strict'
import { Readiness } from '../../../lib/adapters/health/readiness.ts'
import { spec } from '../../support/spec.ts'

spec('a program', (it) => {
  it('is ready if all checks pass', () => {
    const readiness = new Readiness()
    assert.deepEqual(readiness.reasons, {})
    readiness.add('starting', () => undefined)
    assert.deepEqual(readiness.reasons, {})
  })

  it('is not ready for the reasons of its checks, each under its name', () => {
    const readiness = new Readiness()
    let lease: string | undefined = 'the lease is over'
    readiness.add('starting', () => undefined)
    readiness.add('lease', () => lease)
    const draining = readiness.add('draining', () => 'the program is shutting down')
    assert.deepEqual(readiness.reasons, { lease: 'the lease is over', draining: 'the program is shutting down' })
    lease = undefined
    assert.deepEqual(readiness.reasons, { draining: 'the program is shutting down' })
    draining[Symbol.dispose]()
    assert.deepEqual(readiness.reasons, {})
  })

  it('is not ready if a check throws, and does not publish the error', () => {
    const readiness = new Readiness()
    readiness.add('database', () => {
      throw new Error('postgres://secret@db')
    })
    assert.deepEqual(readiness.reasons, { database: 'the check has failed' })
  })

  it('has at most one check of each name', () => {
    const readiness = new Readiness()
    readiness.add('lease', () => undefined)
    assert.throws(() => readiness.add('lease', () => undefined), {
      code: 'usage',
      message: /a check named lease already exists$/u,
    })
  })
})
