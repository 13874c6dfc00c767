import { fuzz } from '../fuzz/fuzz.ts'
import { targets } from '../fuzz/targets/index.ts'
import { spec } from '../support/spec.ts'

/** States what fuzzed cases must not change, with this seed and this share of the cases; `npm run fuzz` runs others. */
export function fuzzed(seed: number, share: number): void {
  const held = (name: keyof typeof targets, cases: number) => () =>
    fuzz(name, targets[name], { seed, cases: Math.ceil(cases * share) })

  spec('a server, whatever it hears,', (it) => {
    const fact = 'ends links with codes, keeps nothing of them, and disturbs no other client'
    it(fact, held('server', 500))
  })

  spec('bytes of any kind', (it) => {
    it('are the same frames however the stream is cut, or malformed', held('frame', 1_500))
    it('are the message that they are read as, or malformed', held('message', 3_000))
    it('are a name that leads to a place below the files, or a bad one', held('names', 2_000))
    it('are settings and limits that can be used, or a wrong use', held('config', 1_000))
    it('are answered at a control socket, or refused with a code', held('control', 200))
  })

  spec('what a disk gives back', (it) => {
    it('is a record of an upload that can be gone on with, or none', held('records', 1_500))
    it('is a journal of messages that takes more of them, or of another version', held('journal', 400))
    it('is what is whole of the tasks and receipts of a client', held('state', 120))
    it(
      'is a list of users that lets in by its tokens alone, or one that lets nobody in and stays as it is',
      held('users', 400),
    )
  })
}
