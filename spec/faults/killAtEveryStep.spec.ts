import { spec } from '../support/spec.ts'
import { dying, short, survives } from '../support/survival.ts'

const whens = ['before', 'after'] as const

spec('an upload is stored once and completely, and nothing is left over, even if the server is killed', (it) => {
  for (const when of whens) {
    const claim = ['claim', 'open', 'ContinuePostFileAck'] as const
    const checkpoint = ['flush', 'checkpoint'] as const
    const end = ['verified', 'publish', 'complete', 'FileMd5Ack'] as const
    for (const at of [...claim, ...checkpoint, ...end]) it(`${when} ${at}`, survives([dying(at, when)]))
    for (const nth of [1, 2]) it(`${when} write ${nth}`, survives([dying('write', when, nth)]))
    it(`${when} PostFileAck 3`, survives([dying('PostFileAck', when, 3)]))
    it(`${when} the final flush`, survives([dying('flush', when)], { bytes: short }))
  }
})

spec(
  'a file in one request is stored once and completely, and nothing is left over, even if the server is killed',
  (it) => {
    const small = { bytes: short, smallFileBytes: short.length }
    for (const at of ['create', 'announce', 'publish', 'PutFileAck'] as const) {
      for (const when of whens) it(`${when} ${at}`, survives([dying(at, when, 1, short.length)], small))
    }
    const doomed = [dying('announce', 'after', 1, short.length), dying('publish', 'after', 1, short.length)]
    it('twice, if an earlier file is replaced', survives(doomed, { ...small, onConflict: 'replace', taken: true }))
    it('twice, if an earlier file is kept', survives(doomed, { ...small, onConflict: 'rename', taken: true }))
    it('twice, if an earlier file would be kept', survives(doomed, { ...small, onConflict: 'reject' }))
  },
)

spec('beside files of its name, an upload is stored once and completely, even if the server is killed', (it) => {
  for (const at of ['verified', 'publish', 'complete'] as const) {
    const doomed = [dying(at, 'after')]
    it(`after ${at}, if an earlier file is replaced`, survives(doomed, { onConflict: 'replace', taken: true }))
    it(`after ${at}, if an earlier file is kept`, survives(doomed, { onConflict: 'rename', taken: true }))
    it(
      `after ${at}, if an earlier file would be kept and the new one refused`,
      survives(doomed, { onConflict: 'reject' }),
    )
  }
})
