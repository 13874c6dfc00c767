import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { array, assert as check, constantFrom, integer, oneof, property, uint8Array } from 'fast-check'
import { file } from '../../../lib/adapters/node/fileSource.ts'
import { absolutePath, pathBytes, pathText } from '../../../lib/adapters/node/pathText.ts'
import { spec } from '../../support/spec.ts'

const bytes = (...parts: readonly (string | number)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part))))

/** Bytes with frequent complete and broken UTF-8 characters. */
const pieces = array(
  oneof(
    constantFrom(bytes('/'), bytes('é'), bytes('\uFFFD'), bytes('电'), bytes('📷'), bytes(0xed, 0xb2, 0x80)),
    integer({ min: 1, max: 255 }).map((byte) => bytes(byte)),
  ),
).map((all) => Buffer.concat(all))

spec('the text of a path', (it) => {
  it('is the path itself if that is UTF-8', () => {
    for (const path of ['', '/a b/é', '电影📷.mp4', 'caf\uFFFD']) {
      assert.equal(pathText(Buffer.from(path)), path)
      assert.equal(pathBytes(path), path)
    }
  })

  it('has U+DC00 plus the byte for each byte that is not UTF-8', () => {
    assert.equal(pathText(bytes('caf', 0xe9)), 'caf\uDCE9')
    assert.equal(pathText(bytes(0xff, '/', 0xc3, 'é')), '\uDCFF/\uDCC3é')
    // A surrogate has no UTF-8.
    assert.equal(pathText(bytes(0xed, 0xb3, 0xa9)), '\uDCED\uDCB3\uDCA9')
  })

  it('decodes to the original bytes', () => {
    const same = (path: Uint8Array) => assert.deepEqual(Buffer.from(pathBytes(pathText(path))), Buffer.from(path))
    check(property(oneof(pieces, uint8Array()), same))
  })

  it('survives JSON and conversion to an absolute path', () => {
    const path = 'a/../caf\uDCE9'
    assert.equal(JSON.parse(JSON.stringify(path)), path)
    assert.equal(absolutePath(path), join(process.cwd(), 'caf\uDCE9'))
  })

  it('needs no working directory if it is absolute', () => {
    const before = process.cwd()
    const gone = mkdtempSync(join(tmpdir(), 'ospd-spec-'))
    process.chdir(gone)
    rmdirSync(gone)
    try {
      assert.equal(absolutePath(join(before, 'a', '..', 'b')), join(before, 'b'))
    } finally {
      process.chdir(before)
    }
  })

  it('is refused if no file can have it', () => {
    assert.throws(() => pathBytes('a\uD800'), { code: 'usage', message: /no file can have the path "a\\ud800"/u })
  })

  if (process.platform !== 'linux') it.skip('leads to its own file', 'names are Unicode on this system')
  else {
    it('leads to its own file, never to one with U+FFFD in its name', async () => {
      const directory = mkdtempSync(join(tmpdir(), 'ospd-spec-'))
      try {
        const place = Buffer.concat([Buffer.from(`${directory}/`), bytes('dir', 0xff)])
        mkdirSync(place)
        const path = Buffer.concat([place, bytes('/caf', 0xe9)])
        writeFileSync(join(directory, 'caf\uFFFD'), 'another')
        writeFileSync(path, 'mine')
        const into = Buffer.alloc(7)
        for (const source of [file(path), file(pathText(path)), file(file(path).ref ?? '')]) {
          await using open = await source.open(new AbortController().signal)
          assert.equal(into.toString('utf8', 0, await open.read(into, 0)), 'mine')
          assert.equal(await open.unchanged(), true)
        }
        await assert.rejects(file(`${directory}/caf\uDCE9`).open(new AbortController().signal), {
          code: 'source-missing',
        })
        assert.deepEqual(readdirSync(place, { encoding: 'buffer' }).map(pathText), ['caf\uDCE9'])
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    })
  }
})
