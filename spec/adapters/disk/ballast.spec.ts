import assert from 'node:assert/strict'
import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Ballast } from '../../../lib/adapters/disk/ballast.ts'
import { DiskJournal } from '../../../lib/adapters/disk/journal.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { KiB, MiB } from '../../../lib/limits.ts'
import { ballast as fill } from '../../support/ballast.ts'
import { spec } from '../../support/spec.ts'
import { canMount, smallDisk } from '../../testing/storage/places.ts'

/** More than the rest of a page. */
const record = Buffer.alloc(8 * KiB, 1)

spec('the ballast of a data directory', (it) => {
  if (!canMount) return it.skip('gives its space to records', 'this process cannot mount a small disk')

  it('gives its space to records that free space on a full disk, and is recreated when the disk has space again', async () => {
    await using disk = await smallDisk(8 * MiB)
    const path = join(disk.path, 'own')
    const ballast = new Ballast(path)
    await ballast.make()
    assert.equal(statSync(path).size, 128 * KiB)
    const journal = await DiskJournal.open(join(disk.path, 'journal'), MiB, nodePlatform(), undefined, ballast)
    await journal.append([record])
    const weight = fill(disk.path)
    await assert.rejects(journal.append([record]), { code: 'disk-full' })
    assert.ok(existsSync(path))
    await journal.append([record], true)
    assert.ok(!existsSync(path))
    assert.ok((await journal.free()) < 128 * KiB)
    assert.ok(!existsSync(path))
    weight.throwOff()
    await journal.free()
    assert.equal(statSync(path).size, 128 * KiB)
    await journal.close()
  })

  it('is not created if it would take much of the free space, and a failure to create it has no effect', async () => {
    await using disk = await smallDisk(MiB)
    const path = join(disk.path, 'own')
    using weight = fill(disk.path, 256 * KiB)
    await new Ballast(path).make()
    assert.ok(!existsSync(path))
    await new Ballast(join(disk.path, 'nowhere', 'own')).make()
    weight.throwOff()
    await new Ballast(path).make()
    assert.equal(statSync(path).size, 64 * KiB)
    rmSync(path)
  })
})
