import { spec } from '../support/spec.ts'
import { dying, short, survives } from '../support/survival.ts'

const whens = ['before', 'after'] as const

spec('an upload is stored once and whole, and nothing is left over, though the server is killed', (it) => {
  for (const when of whens) {
    const claim = ['claim', 'open', 'ContinuePostFileAck'] as const
    const checkpoint = ['flush', 'checkpoint'] as const
    const end = ['verified', 'publish', 'complete', 'FileMd5Ack'] as const
    for (const at of [...claim, ...checkpoint, ...end]) it(`${when} ${at}`, survives([dying(at, when)]))
    for (const nth of [1, 2]) it(`${when} write ${nth}`, survives([dying('write', when, nth)]))
    it(`${when} PostFileAck 3`, survives([dying('PostFileAck', when, 3)]))
    it(`${when} the flush at the end`, survives([dying('flush', when)], { bytes: short }))
  }
})

spec('beside files of its name an upload is stored once and whole, though the server is killed', (it) => {
  for (const at of ['verified', 'publish', 'complete'] as const) {
    const doomed = [dying(at, 'after')]
    it(`after ${at}, where an older one is replaced`, survives(doomed, { onConflict: 'replace', taken: true }))
    it(`after ${at}, where an older one is kept`, survives(doomed, { onConflict: 'rename', taken: true }))
    it(`after ${at}, where one would be refused`, survives(doomed, { onConflict: 'reject' }))
  }
})
