import assert from 'node:assert/strict'
import { type Attributes, decodeBody, encodeBody, serverPartsOf } from '../../lib/wire/messageBody.ts'
import { hex } from '../support/bytes.ts'
import { spec } from '../support/spec.ts'

const id = hex('000102030405060708090a0b0c0d0e0f')
const content = hex('6869')
const file = {
  owner: 'alice',
  fileName: 'a',
  version: 'v1',
  size: 2,
  modifiedAt: 1,
  digest: 2,
  fileDigest: hex('ff'),
  metadata: [{ key: 'k', value: 'v' }],
  readers: ['bob'],
  until: 5,
  proof: hex('0102'),
}

/** Bodies, and their bytes as written by hand from docs/protocol.md. */
const bodies: readonly (readonly [Attributes, string])[] = [
  [{}, '00 6869'],
  [{ headers: [{ key: 'k', value: 'ä' }] }, '01 0001 0001 6b 0002 c3a4 6869'],
  [{ timeToLive: 3_000 }, '02 0000000000000bb8 6869'],
  [{ inReplyTo: id }, '04 000102030405060708090a0b0c0d0e0f 6869'],
  [
    { file },
    '08 0005 616c696365 0001 61 0002 7631 0000000000000002 0000000000000001 02 00000001 ff 0001 0001 6b 0001 76 0001 0003 626f62 0000000000000005 00000002 0102 6869',
  ],
  [{ receiptWanted: true }, '10 6869'],
  [
    { receipt: { messageId: id, recipient: 'bob', state: 2, at: 5 } },
    '20 000102030405060708090a0b0c0d0e0f 0003 626f62 02 0000000000000005 6869',
  ],
  [{ timeToLive: 1, inReplyTo: id }, '06 0000000000000001 000102030405060708090a0b0c0d0e0f 6869'],
]

spec('the body of a message', (it) => {
  for (const [attributes, digits] of bodies) {
    it(`is encoded and decoded: ${digits.slice(0, 24)}`, () => {
      const bytes = hex(digits.replaceAll(' ', ''))
      assert.deepEqual(Buffer.from(encodeBody(attributes, content)), Buffer.from(bytes))
      const decoded = decodeBody(bytes)
      assert.deepEqual(decoded.attributes, attributes)
      assert.deepEqual(Buffer.from(decoded.content), Buffer.from(content))
    })
  }

  it('is malformed if it is empty, has an unknown part, or ends within a part', () => {
    for (const digits of ['', '40', '80', '01', '0100', '02000000', '0400', '08000561'])
      assert.throws(() => decodeBody(hex(digits)), { code: 'malformed' }, digits)
  })

  it('names the parts that only a server may add', () => {
    assert.deepEqual(serverPartsOf({ file, timeToLive: 1 }), ['file'])
    const receipt = { messageId: id, recipient: 'bob', state: 2, at: 5 }
    assert.deepEqual(serverPartsOf({ receipt, receiptWanted: true }), ['receipt'])
    assert.deepEqual(serverPartsOf({ headers: [] }), [])
  })
})
