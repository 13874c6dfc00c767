import { spec } from '../support/spec.ts'
import { dying, survives } from '../support/survival.ts'

spec('an upload is stored once and whole, though the server is killed', (it) => {
  it('by each of two claims', survives([dying('claim', 'after'), dying('claim', 'after')]))
  it(
    'by a write, and again by the first one that follows',
    survives([dying('write', 'after', 2), dying('write', 'after')]),
  )
  it(
    'after a checkpoint, and before the next one',
    survives([dying('checkpoint', 'after'), dying('checkpoint', 'before')]),
  )
})

spec('a verified upload is stored once and whole, though the server is killed again while it starts', (it) => {
  it('after claiming it', survives([dying('verified', 'after'), dying('claim', 'after')]))
  it('after publishing it', survives([dying('verified', 'after'), dying('publish', 'after')]))
  it('before it is complete', survives([dying('publish', 'after'), dying('complete', 'before')]))
  it('when it is complete', survives([dying('publish', 'after'), dying('complete', 'after')]))
  it(
    'three times',
    survives([
      dying('publish', 'before'),
      dying('publish', 'before'),
      dying('publish', 'after'),
      dying('claim', 'after'),
    ]),
  )
})

spec('a file that another client sends again is stored once and whole, though the server was killed', (it) => {
  it('while it was written', survives([dying('write', 'after', 2)], { again: true }))
  it('when it was verified', survives([dying('verified', 'after')], { again: true }))
  it('when it was complete', survives([dying('complete', 'after')], { again: true }))
})
