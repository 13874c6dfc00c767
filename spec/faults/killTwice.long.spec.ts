import { spec } from '../support/spec.ts'
import { dying, survives } from '../support/survival.ts'

spec('an upload is stored once and completely, even if the server is killed', (it) => {
  it('after each of two claims', survives([dying('claim', 'after'), dying('claim', 'after')]))
  it('after a write, and again after the next one', survives([dying('write', 'after', 2), dying('write', 'after')]))
  it(
    'after a checkpoint, and before the next one',
    survives([dying('checkpoint', 'after'), dying('checkpoint', 'before')]),
  )
})

spec('a verified upload is stored once and completely, even if the server is killed again while it starts', (it) => {
  it('after it has claimed the upload', survives([dying('verified', 'after'), dying('claim', 'after')]))
  it('after it has published the file', survives([dying('verified', 'after'), dying('publish', 'after')]))
  it('before it has completed the upload', survives([dying('publish', 'after'), dying('complete', 'before')]))
  it('after it has completed the upload', survives([dying('publish', 'after'), dying('complete', 'after')]))
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

spec('a file that another client sends again is stored once and completely, even if the server was killed', (it) => {
  it('while it wrote the file', survives([dying('write', 'after', 2)], { again: true }))
  it('after it had verified the file', survives([dying('verified', 'after')], { again: true }))
  it('after it had completed the upload', survives([dying('complete', 'after')], { again: true }))
})
