import assert from 'node:assert/strict'
import { type Codec, Reader, Writer } from '../../lib/wire/codec.ts'
import {
  boundedU64,
  bytes,
  list,
  optionalField,
  raw,
  rest,
  str,
  struct,
  u8,
  u16,
  u32,
  u64,
} from '../../lib/wire/fields.ts'
import { concatenated, hex } from '../support/bytes.ts'
import { spec } from '../support/spec.ts'

function written<T>(codec: Codec<T>, value: T): string {
  const writer = new Writer(codec.size(value))
  codec.write(writer, value)
  assert.equal(writer.at, writer.bytes.length)
  return Buffer.from(concatenated([writer.bytes, ...writer.tail])).toString('hex')
}

const read = <T>(codec: Codec<T>, digits: string): T => codec.read(new Reader([hex(digits)]))

function isMalformed(codec: Codec<unknown>, ...inputs: string[]): void {
  for (const digits of inputs) assert.throws(() => read(codec, digits), { code: 'malformed' }, digits)
}

spec('integers', (it) => {
  const codecs: [Codec<number>, most: number, digits: string][] = [
    [u8, 0xff, 'ff'],
    [u16, 0xffff, 'ffff'],
    [u32, 0xffff_ffff, 'ffffffff'],
    [u64, Number.MAX_SAFE_INTEGER, '001fffffffffffff'],
  ]
  for (const [codec, most, digits] of codecs) {
    it(`of type ${codec.form} go up to ${most}`, () => {
      assert.equal(written(codec, most), digits)
      assert.equal(read(codec, digits), most)
      assert.equal(read(codec, written(codec, 0)), 0)
      for (const value of [-1, most + 1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        assert.throws(() => codec.size(value), RangeError)
      }
      isMalformed(codec, digits.slice(2))
    })
  }

  it('are big-endian', () => {
    assert.equal(written(u16, 0x0102), '0102')
    assert.equal(written(u32, 0x01020304), '01020304')
    assert.equal(written(u64, 0x0102030405060), '0000102030405060')
  })

  it('of 64 bits above 2^53 - 1 are malformed', () => isMalformed(u64, '0020000000000000', 'ffffffffffffffff'))

  it('of the bounded 64-bit type above 2^53 - 1 are read as 2^53', () => {
    assert.equal(read(boundedU64, '001fffffffffffff'), Number.MAX_SAFE_INTEGER)
    for (const digits of ['0020000000000000', '0020000000000001', 'ffffffffffffffff']) {
      assert.equal(read(boundedU64, digits), 2 ** 53)
    }
    assert.equal(written(boundedU64, 2 ** 53), '0020000000000000')
    for (const value of [2 ** 53 + 2, -1, 0.5]) assert.throws(() => boundedU64.size(value), RangeError)
    isMalformed(boundedU64, '00')
  })
})

spec('strings', (it) => {
  it('are encoded as their length in bytes and UTF-8', () => {
    assert.equal(written(str, 'aä€😀'), '000a61c3a4e282acf09f9880')
    assert.equal(read(str, '000a61c3a4e282acf09f9880'), 'aä€😀')
    assert.equal(written(str, ''), '0000')
  })

  it('keep a byte order mark and a zero', () => {
    assert.equal(read(str, written(str, '\uFEFFa\0')), '\uFEFFa\0')
  })

  it('are at most 65535 bytes long', () => {
    assert.equal(read(str, written(str, 'ä'.repeat(32_767))).length, 32_767)
    assert.throws(() => str.size('ä'.repeat(32_768)), RangeError)
  })

  it('have no lone surrogates', () => {
    assert.throws(() => str.size('a\uD800'), RangeError)
  })

  it('that are not valid UTF-8 are malformed', () => {
    isMalformed(str, '0001ff', '0002c080', '0003eda080', '0004f5808080', '0001c3', '000180')
  })

  it('that are shorter than their length are malformed', () => isMalformed(str, '00', '000161'.slice(0, 4), '00036161'))
})

spec('bytes', (it) => {
  it('are encoded after their length', () => {
    assert.equal(written(bytes, hex('0102')), '000000020102')
    assert.deepEqual(read(bytes, '000000020102'), hex('0102'))
  })

  it('that are shorter than their length are malformed, whatever the length', () => {
    isMalformed(bytes, 'ffffffff', 'ffffffff00', '0000000200', '000000')
  })

  it('without a length have exactly the fixed length', () => {
    assert.equal(written(raw(3), hex('010203')), '010203')
    assert.throws(() => raw(3).size(hex('0102')), RangeError)
    isMalformed(raw(3), '0102')
  })

  it('that are the rest of a payload are written and read without a copy', () => {
    const parts = [hex('01'), hex('0203')]
    const writer = new Writer(rest.size(parts))
    rest.write(writer, parts)
    assert.equal(writer.bytes.length, 0)
    assert.equal(writer.tail, parts)
    assert.deepEqual(read(rest, ''), [])
  })
})

spec('lists, structs and optional values', (it) => {
  const pairs = list(struct({ key: u8, value: str }))

  it('are encoded one after another', () => {
    const values = [
      { key: 1, value: 'a' },
      { key: 2, value: '' },
    ]
    assert.equal(written(pairs, values), '0002010001610200' + '00')
    assert.deepEqual(read(pairs, '000201000161020000'), values)
    assert.equal(pairs.form, 'list of { key u8, value str }')
  })

  it('have at most 65535 items', () => {
    assert.throws(() => list(u8).size(new Array(65_536).fill(0)), RangeError)
    assert.equal(read(list(u8), written(list(u8), new Array(65_535).fill(7))).length, 65_535)
  })

  it('with fewer items than their count are malformed', () => isMalformed(pairs, 'ffff', '0002010001610200', '00'))

  it('are absent if the payload ends before them', () => {
    assert.equal(written(optionalField(u32), undefined), '')
    assert.equal(written(optionalField(u32), 1), '00000001')
    assert.equal(read(optionalField(u32), ''), undefined)
    assert.equal(read(optionalField(u32), '00000001'), 1)
  })
})
