import { join } from 'node:path'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import { spec } from '../support/spec.ts'
import { canInject } from '../support/strace.ts'
import { dyingIn, survives } from '../support/survival.ts'

const partial = (data: string) => [layoutOf(data).partialOf('alice', 'folder/a')]
const published = (data: string) => [join(data, 'files/alice/folder/a')]
const folder = (name: string) => (data: string) => [join(data, name)]
const log = (data: string) => [join(data, 'uploads/00000001.log')]

const kept = { onConflict: 'rename' } as const
const beside = { onConflict: 'rename', taken: true } as const
const instead = { onConflict: 'replace', taken: true } as const

spec('an upload is stored once and completely, and nothing is left over, even if the server is killed', (it) => {
  if (!canInject) return it.skip('within a step', 'strace is missing, or may not trace here')

  it('while it writes the header of the records', survives([dyingIn('pwrite64', log, '1')]))
  for (const nth of ['2', '3', '4'])
    it(`while it writes row ${nth} of the records`, survives([dyingIn('pwrite64', log, nth)]))
  for (const nth of ['1', '2', '3']) {
    it(`while it writes chunks, at write ${nth}`, survives([dyingIn('writev,pwritev,pwrite64', partial, nth)]))
  }
  it('while it flushes the partial file', survives([dyingIn('fdatasync', partial)]))
  it('between flushing the partial file and flushing its folder', survives([dyingIn('fsync', folder('partial'))]))
  it('between creating the folder of a user and flushing its parent', survives([dyingIn('fsync', folder('files'))]))
  it('between creating a folder in it and flushing its parent', survives([dyingIn('fsync', folder('files/alice'))]))
  it('while it renames the file', survives([dyingIn('rename', partial)]))
  it('between renaming the file and flushing its folder', survives([dyingIn('fsync', folder('files/alice/folder'))]))
  it('while it renames the file in place of an earlier one', survives([dyingIn('rename', partial)], instead))
  it('while it links the file', survives([dyingIn('link', published)], kept))
  it('between linking the file and unlinking the partial one', survives([dyingIn('unlink', partial)], kept))
  it('between these two, beside an earlier file', survives([dyingIn('unlink', partial)], beside))
  it('between unlinking it and flushing the folder', survives([dyingIn('fsync', folder('files/alice/folder'))], kept))
})
