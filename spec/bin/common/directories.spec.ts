import assert from 'node:assert/strict'
import { existsSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectories } from '../../../bin/common/directories.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

spec('a directory', (it) => {
  it('is created with the missing ones above it, if it does not exist', async () => {
    await using at = await place()
    const path = join(at.path, 'a', 'b', 'c')
    for (const _time of [1, 2]) makeDirectories(path, 0o700)
    assert.equal(statSync(path).mode & 0o777, 0o700)
    const file = join(at.path, 'file')
    writeFileSync(file, '')
    const error = { code: 'EEXIST', message: `${file} is a file, not a directory` }
    for (const path of [file, join(file, 'a'), join(file, 'a', 'b')]) assert.throws(() => makeDirectories(path), error)
    const link = join(at.path, 'link')
    symlinkSync('missing', link)
    assert.throws(() => makeDirectories(link), { message: `${link} is a broken symbolic link, not a directory` })
  })

  if (!existsSync('/proc/self')) it.skip('on a file system without new directories is refused', 'there is no /proc')
  else {
    it('on a file system without new directories is refused', () => {
      for (const path of ['/proc/ospd', '/proc/ospd/a']) assert.throws(() => makeDirectories(path), { code: 'EPERM' })
    })
  }
})
