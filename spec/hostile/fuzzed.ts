import { fuzz } from '../fuzz/fuzz.ts'
import { targets } from '../fuzz/targets/index.ts'
import { spec } from '../support/spec.ts'

/** Declares the fuzzed cases, with this seed and this share of them; `npm run fuzz` runs others. */
export function fuzzed(seed: number, share: number): void {
  const withstands = (name: keyof typeof targets, cases: number) => () =>
    fuzz(name, targets[name], { seed, cases: Math.ceil(cases * share) })

  spec('a server that receives arbitrary input', (it) => {
    const title = 'ends links with codes, keeps no data of them, and disturbs no other client'
    it(title, withstands('server', 500))
  })

  spec('arbitrary bytes', (it) => {
    it('are the same frames in whatever pieces the stream arrives, or malformed', withstands('frame', 1_500))
    it('are the same PROXY header in whatever pieces they arrive, or malformed', withstands('proxy', 3_000))
    it('are decoded and encoded to the same message, or malformed', withstands('message', 3_000))
    it('are a name that leads to a place below the files, or an invalid one', withstands('names', 2_000))
    it('are usable settings and limits, or a usage error', withstands('config', 1_000))
    it('are answered at a control socket, or refused with a code', withstands('control', 200))
  })

  spec('arbitrary contents of a disk', (it) => {
    it('are a record of an upload that can be continued, or no record', withstands('records', 1_500))
    it('are a journal that accepts further messages, or one of another version', withstands('journal', 400))
    it('are the intact tasks and receipts of a client', withstands('state', 120))
    it(
      'are a list of users that accepts logins by its tokens only, or a damaged one that refuses all logins and is not changed',
      withstands('users', 400),
    )
  })
}
