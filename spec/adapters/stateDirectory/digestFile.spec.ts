import assert from 'node:assert/strict'
import { appendFile, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { stateDirectory } from '../../../lib/adapters/stateDirectory/stateDirectory.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const digest = (number: number) => new Uint8Array(32).fill(number)

spec('the digests in a state directory', (it) => {
  it('are found by the next program for the same algorithm and identity', async () => {
    await using at = await place()
    await stateDirectory(at.path).digests.put('1 2 3', 'sha256', digest(1), 100)
    const { digests } = stateDirectory(at.path)
    assert.deepEqual(await digests.find('1 2 3', 'sha256'), digest(1))
    assert.equal(await digests.find('1 2 3', 'md5'), undefined)
    assert.equal(await digests.find('1 2 4', 'sha256'), undefined)
  })

  it('are limited in number: the oldest are forgotten', async () => {
    await using at = await place()
    const { digests } = stateDirectory(at.path)
    for (let number = 0; number < 100; number++) await digests.put(`file ${number}`, 'sha256', digest(number), 10)
    for (const state of [stateDirectory(at.path), { digests }]) {
      assert.deepEqual(await state.digests.find('file 99', 'sha256'), digest(99))
      assert.deepEqual(await state.digests.find('file 90', 'sha256'), digest(90))
    }
    assert.equal(await digests.find('file 89', 'sha256'), undefined)
    const lines = (await readFile(join(at.path, 'digests'), 'utf8')).split('\n').length - 1
    assert.ok(lines <= 40, `${lines} lines`)
  })

  it('are ignored if they are damaged, and can be removed', async () => {
    await using at = await place()
    const path = join(at.path, 'digests')
    await stateDirectory(at.path).digests.put('a', 'sha256', digest(1), 100)
    await appendFile(path, '00000000 ["sha256 b","00"]\n')
    const { digests } = stateDirectory(at.path)
    assert.deepEqual(await digests.find('a', 'sha256'), digest(1))
    assert.equal(await digests.find('b', 'sha256'), undefined)
    await rm(path)
    assert.equal(await stateDirectory(at.path).digests.find('a', 'sha256'), undefined)
  })
})
