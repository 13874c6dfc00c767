import assert from 'node:assert/strict'
import type { LogEntry } from '../../lib/ports/log.ts'
import { Emitter } from '../../lib/runtime/emitter.ts'
import { spec } from '../support/spec.ts'

interface Events {
  here: [number]
  gone: []
}

spec('an emitter', (it) => {
  it('calls every listener at once, in the order in which they came', () => {
    const emitter = new Emitter<Events>()
    const heard: string[] = []
    emitter.on('here', (number) => heard.push(`first ${number}`))
    emitter.addListener('here', (number) => heard.push(`second ${number}`))
    assert.equal(emitter.emit('here', 1), true)
    assert.equal(emitter.emit('gone'), false)
    assert.deepEqual(heard, ['first 1', 'second 1'])
  })

  it('calls a listener of once a single time, and no removed listener', () => {
    const emitter = new Emitter<Events>()
    const heard: number[] = []
    const listener = (number: number) => void heard.push(number)
    emitter.once('here', listener)
    emitter.emit('here', 1)
    emitter.emit('here', 2)
    emitter.on('here', listener)
    emitter.emit('here', 3)
    emitter.off('here', listener)
    emitter.once('here', listener)
    emitter.removeListener('here', listener)
    emitter.emit('here', 4)
    assert.deepEqual(heard, [1, 3])
    assert.equal(emitter.listenerCount('here'), 0)
  })

  it('removes all listeners at once', () => {
    const emitter = new Emitter<Events>()
    emitter.on('here', () => assert.fail())
    emitter.off('here')
    emitter.on('here', () => assert.fail())
    emitter.removeAllListeners()
    assert.equal(emitter.emit('here', 1), false)
  })

  it('calls the next listener after one throws or rejects, and logs the error', async () => {
    const log: LogEntry[] = []
    const emitter = new Emitter<Events>((entry) => log.push(entry))
    let heard = 0
    emitter.on('gone', () => {
      throw new Error('thrown')
    })
    emitter.on('gone', async () => {
      throw 'rejected'
    })
    emitter.on('gone', () => heard++)
    emitter.emit('gone')
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(heard, 1)
    assert.deepEqual(
      log.map(({ level, event, of, text }) => [level, event, of, text]),
      [
        ['error', 'listener-failed', 'gone', 'thrown'],
        ['error', 'listener-failed', 'gone', 'rejected'],
      ],
    )
  })

  it('prints the error of a listener if there is no log', () => {
    const { error } = console
    const printed: unknown[] = []
    console.error = (...what: unknown[]) => void printed.push(what)
    const bug = new Error('thrown')
    try {
      const emitter = new Emitter<Events>()
      emitter.on('gone', () => {
        throw bug
      })
      emitter.emit('gone')
    } finally {
      console.error = error
    }
    assert.deepEqual(printed, [["a listener of the event 'gone' failed:", bug]])
  })
})
