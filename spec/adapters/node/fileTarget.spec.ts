import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileTarget } from '../../../lib/adapters/node/fileTarget.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { OpenTarget } from '../../../lib/ports/target.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'
import { canMount, smallDisk } from '../../testing/storage/places.ts'

const bytes = Buffer.from('hello')
const { digests } = nodePlatform()

const contentOf = (content: Uint8Array) => ({
  name: 'a',
  size: content.length,
  modifiedAt: 1_600_000_000_000,
  algorithm: 'sha256' as const,
  digest: createHash('sha256').update(content).digest('hex'),
})

/** A folder, and a target in it. */
async function bench() {
  const at = await place()
  const path = join(at.path, 'a')
  return {
    path,
    open: (overwrite = false, content: Uint8Array = bytes) =>
      fileTarget(path, { overwrite }).open(contentOf(content), digests),
    entries: () => readdirSync(at.path).sort(),
    [Symbol.asyncDispose]: () => at[Symbol.asyncDispose](),
  }
}

async function opened(opening: Promise<OpenTarget | undefined>): Promise<OpenTarget> {
  return (await opening) ?? assert.fail('the target has the content already')
}

spec('a file as a target', (it) => {
  it('names the file of another program that occupies the name of its partial file, even if its own name is long', async () => {
    await using at = await place()
    for (const name of ['a', 'b'.repeat(250)]) {
      const target = fileTarget(join(at.path, name))
      await (await opened(target.open(contentOf(bytes), digests)))[Symbol.asyncDispose]()
      const [part = '', record = ''] = readdirSync(at.path).sort()
      unlinkSync(join(at.path, record))
      await assert.rejects(target.open(contentOf(bytes), digests), (error: Error) => {
        assert.ok(error.message.startsWith(`${join(at.path, part)} already exists`), error.message)
        return true
      })
      unlinkSync(join(at.path, part))
    }
  })

  it('is there only after the commit, with the time of the content', async () => {
    await using at = await bench()
    await using target = await opened(at.open())
    await target.write([bytes.subarray(2)], 2)
    await target.write([bytes.subarray(0, 2)], 0)
    assert.deepEqual(at.entries(), ['a.part', 'a.part.json'])
    await target.commit()
    assert.deepEqual([at.entries(), readFileSync(at.path)], [['a'], bytes])
    assert.equal(statSync(at.path).mtimeMs, 1_600_000_000_000)
    assert.equal(await at.open(), undefined)
  })

  it('continues a partial file of the same content only', async () => {
    await using at = await bench()
    await using first = await opened(at.open())
    await first.write([bytes.subarray(0, 3)], 0)
    await using second = await opened(at.open())
    const into = Buffer.alloc(3)
    assert.deepEqual([second.keptBytes, await second.read(into, 0), into], [3, 3, bytes.subarray(0, 3)])
    await using other = await opened(at.open(false, Buffer.from('other')))
    assert.equal(other.keptBytes, 0)
    await assert.rejects(second.commit(), { code: 'target-unwritable', message: /another program/u })
  })

  it('does not replace a file with other content unless it may', async () => {
    await using at = await bench()
    writeFileSync(at.path, 'other')
    await assert.rejects(at.open(), { code: 'target-exists' })
    await using target = await opened(at.open(true))
    await target.write([bytes], 0)
    assert.equal(readFileSync(at.path, 'utf8'), 'other')
    await target.commit()
    assert.deepEqual([at.entries(), readFileSync(at.path)], [['a'], bytes])
  })

  for (const name of ['a.part', 'a.part.json']) {
    it(`keeps ${name} of another program`, async () => {
      await using at = await bench()
      const other = join(at.path, '..', name)
      writeFileSync(other, 'precious')
      await assert.rejects(at.open(), { code: 'target-exists', message: new RegExp(`/${name} already exists`, 'u') })
      assert.equal(readFileSync(other, 'utf8'), 'precious')
      unlinkSync(other)
      symlinkSync('elsewhere', other)
      await assert.rejects(at.open(), { code: 'target-exists' })
      assert.deepEqual(at.entries(), [name])
      writeFileSync(at.path, bytes)
      assert.equal(await at.open(), undefined)
      assert.deepEqual(at.entries(), ['a', name])
    })
  }

  if (!canMount) it.skip('leaves nothing behind on a full disk', 'this process may not mount a small disk')
  else {
    it('leaves nothing behind on a full disk', async () => {
      await using small = await smallDisk(1_000_000)
      const fill = join(small.path, 'fill')
      try {
        for (;;) writeFileSync(fill, Buffer.alloc(4_096), { flag: 'a' })
      } catch {}
      await assert.rejects(fileTarget(join(small.path, 'a')).open(contentOf(bytes), digests), {
        code: 'target-unwritable',
        message: /the disk is full/u,
      })
      assert.deepEqual(readdirSync(small.path), ['fill'])
    })
  }
})
