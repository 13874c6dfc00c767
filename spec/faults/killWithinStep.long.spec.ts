import { join } from 'node:path'
import { Layout } from '../../lib/adapters/disk/layout.ts'
import { spec } from '../support/spec.ts'
import { canInject } from '../support/strace.ts'
import { dyingIn, survives } from '../support/survival.ts'

const partial = (data: string) => [new Layout(data).partialOf('alice', 'folder/a')]
const published = (data: string) => [join(data, 'files/alice/folder/a')]
const folder = (name: string) => (data: string) => [join(data, name)]
const log = (data: string) => [join(data, 'uploads/00000001.log')]

const kept = { onConflict: 'rename' } as const
const beside = { onConflict: 'rename', taken: true } as const
const instead = { onConflict: 'replace', taken: true } as const

spec('an upload is stored once and whole, and nothing is left over, though the server is killed', (it) => {
  if (!canInject) return it.skip('within a step', 'strace is missing, or may not trace here')

  it('while it writes the head of the records', survives([dyingIn('pwrite64', log, '1')]))
  for (const nth of ['2', '3', '4'])
    it(`while it writes row ${nth} of the records`, survives([dyingIn('pwrite64', log, nth)]))
  for (const nth of ['1', '2', '3']) {
    it(`while it writes chunks for time ${nth}`, survives([dyingIn('writev,pwritev,pwrite64', partial, nth)]))
  }
  it('while the partial file is flushed', survives([dyingIn('fdatasync', partial)]))
  it('between flushing the partial file and flushing its folder', survives([dyingIn('fsync', folder('partial'))]))
  it('between making the folder of a user and flushing it', survives([dyingIn('fsync', folder('files'))]))
  it('between making a folder in it and flushing it', survives([dyingIn('fsync', folder('files/alice'))]))
  it('while the file is renamed', survives([dyingIn('rename', partial)]))
  it('between renaming the file and flushing its folder', survives([dyingIn('fsync', folder('files/alice/folder'))]))
  it('while it is renamed in place of an older one', survives([dyingIn('rename', partial)], instead))
  it('while the file is linked', survives([dyingIn('link', published)], kept))
  it('between linking the file and unlinking the partial one', survives([dyingIn('unlink', partial)], kept))
  it('between these two, beside an older one', survives([dyingIn('unlink', partial)], beside))
  it('between unlinking it and flushing the folder', survives([dyingIn('fsync', folder('files/alice/folder'))], kept))
})
