import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isSpooled, spool, spoolRemover, sweepSpool } from '../../../lib/adapters/stateDirectory/spool.ts'
import { clientLimits } from '../../../lib/limits.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'
import { canMount, smallDisk } from '../../testing/storage/places.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

async function* parts(...texts: readonly string[]) {
  for (const text of texts) yield bytes(text)
}

const broken = (fault: Error) =>
  (async function* () {
    yield bytes('half')
    throw fault
  })()

spec('a spooled stream', (it) => {
  it('is a file that only its owner can access, and a source with the given name', async () => {
    await using at = await place()
    const { source, size } = await spool(at.path, parts('some ', '', 'text'), 'a name')
    assert.deepEqual([source.name, size], ['a name', 9])
    const { ref = '' } = source
    assert.equal(await readFile(ref, 'utf8'), 'some text')
    assert.equal((await stat(ref)).mode & 0o777, 0o600)
    assert.deepEqual([isSpooled(at.path, ref), isSpooled(at.path, join(at.path, 'tasks'))], [true, false])
  })

  it('leaves no file if the stream breaks', async () => {
    await using at = await place()
    await assert.rejects(spool(at.path, broken(new Error('gone')), 'a'), {
      code: 'source-unreadable',
      message: /cannot be read to its end: gone/u,
    })
    assert.deepEqual(await readdir(join(at.path, 'spool')), [])
  })

  it('leaves no file if it is longer than the bound', async () => {
    await using at = await place()
    const { spooledBytes } = clientLimits
    try {
      Object.assign(clientLimits, { spooledBytes: 7 })
      await assert.rejects(spool(at.path, parts('some', 'text'), 'a'), {
        code: 'too-large',
        message: /^the stream has more than .* GiB; write it to a file, and send the file$/u,
      })
      assert.equal((await spool(at.path, parts('some', 'tex'), 'a')).size, 7)
    } finally {
      Object.assign(clientLimits, { spooledBytes })
    }
    assert.equal((await readdir(join(at.path, 'spool'))).length, 1)
  })

  it('is removed when it is not needed, without any other file', async () => {
    await using at = await place()
    const { source } = await spool(at.path, parts('x'), 'a')
    await at.write('other', 'x')
    const discard = spoolRemover(at.path)
    await discard(join(at.path, 'other'))
    await discard(source.ref ?? '')
    await discard(source.ref ?? '')
    assert.deepEqual(await readdir(join(at.path, 'spool')), [])
    assert.equal(await readFile(join(at.path, 'other'), 'utf8'), 'x')
  })

  it('is removed by a sweep if no task uses it and no program is writing it', async () => {
    await using at = await place()
    await sweepSpool(at.path, [])
    const wanted = await spool(at.path, parts('x'), 'a')
    await spool(at.path, parts('y'), 'b')
    const folder = join(at.path, 'spool')
    await mkdir(folder, { recursive: true })
    const alive = `${process.ppid}.abc`
    for (const name of [alive, 'strange']) await writeFile(join(folder, name), '')
    await sweepSpool(at.path, [wanted.source.ref ?? ''])
    const left = (await readdir(folder)).map((name) => join(folder, name))
    assert.deepEqual(left.sort(), [wanted.source.ref ?? '', join(folder, alive)].sort())
  })
})

spec('a stream that is spooled to a full disk', (it) => {
  if (!canMount) return it.skip('is rejected, and leaves no file', 'this process cannot mount a disk')

  it('is rejected, and leaves no file', async () => {
    await using disk = await smallDisk(1_000_000)
    const endless = (async function* () {
      for (;;) yield new Uint8Array(100_000)
    })()
    await assert.rejects(spool(disk.path, endless, 'a'), { code: 'disk-full', message: /the disk is full/u })
    assert.deepEqual(await readdir(join(disk.path, 'spool')), [])
  })
})
