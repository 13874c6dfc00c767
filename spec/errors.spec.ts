import assert from 'node:assert/strict'
import { codeOf, type ErrorCode, errors, numberOf, OspError, type Retry } from '../lib/errors.ts'
import { spec } from './support/spec.ts'

/** The codes as in docs/protocol.md; `recover` means that a step besides waiting helps. */
const onWire: readonly [number, ErrorCode, Retry][] = [
  [1, 'malformed', 'never'],
  [2, 'unsupported-version', 'never'],
  [3, 'unauthorized', 'never'],
  [4, 'rate-limited', 'later'],
  [5, 'shutting-down', 'later'],
  [6, 'internal', 'later'],
  [7, 'no-idle-instance', 'later'],
  [8, 'too-many-uploads', 'later'],
  [9, 'file-busy', 'later'],
  [10, 'superseded', 'never'],
  [11, 'instance-lost', 'automatic'],
  [12, 'wrong-offset', 'automatic'],
  [13, 'digest-mismatch', 'automatic'],
  [14, 'disk-full', 'later'],
  [15, 'quota-exceeded', 'later'],
  [16, 'too-large', 'never'],
  [17, 'bad-name', 'never'],
  [18, 'name-conflict', 'never'],
  [19, 'file-exists', 'never'],
  [20, 'cancelled', 'never'],
  [21, 'unsupported-digest', 'never'],
  [22, 'clients-full', 'later'],
  [23, 'not-registered', 'automatic'],
  [24, 'wrong-node', 'never'],
  [25, 'too-many-recipients', 'never'],
  [26, 'unknown-user', 'never'],
  [27, 'mailbox-full', 'later'],
  [28, 'id-reused', 'never'],
  [29, 'slow-consumer', 'later'],
  [30, 'timed-out', 'later'],
  [31, 'storage-unusable', 'never'],
  [32, 'overloaded', 'later'],
  [33, 'link-replaced', 'later'],
  [34, 'no-such-file', 'never'],
  [35, 'version-changed', 'automatic'],
  [36, 'gone', 'never'],
  [37, 'upload-rejected', 'never'],
  [38, 'too-many-receipts', 'later'],
  [39, 'too-many-devices', 'never'],
  [40, 'device-listening', 'never'],
]

const codes = Object.keys(errors) as ErrorCode[]

spec('the error codes', (it) => {
  it('that are sent have the numbers of the protocol, and say whether a retry can help', () => {
    const travelling = codes.filter((code) => errors[code].number !== undefined)
    assert.deepEqual(
      travelling.map((code) => [errors[code].number, code, errors[code].retry]),
      onWire,
    )
  })

  it('are read back from the number that they are written as', () => {
    for (const [number, code] of onWire) {
      assert.equal(numberOf(code), number)
      assert.equal(codeOf(number), code)
    }
  })

  it('of a later version are read as internal', () => {
    for (const number of [0, 41, 0xffff]) assert.equal(codeOf(number), 'internal')
  })

  it('that are never sent are written as internal', () => {
    assert.equal(numberOf('link-lost'), errors.internal.number)
  })

  it('are in kebab case, and each has its own text', () => {
    for (const code of codes) assert.match(code, /^[a-z]+(-[a-z]+)*$/u)
    assert.equal(new Set(codes.map((code) => errors[code].text)).size, codes.length)
  })
})

spec('an OspError', (it) => {
  it('has its code, its text and whether a retry can help', () => {
    const error = new OspError('disk-full')
    assert.equal(error.code, 'disk-full')
    assert.equal(error.message, errors['disk-full'].text)
    assert.equal(error.retry, 'later')
    assert.equal(error.retryAfterMs, 0)
    assert.equal(error.progress, undefined)
    assert.equal(error.cause, undefined)
    assert.ok(!('cause' in error))
  })

  it('has the text and the details that the peer sent', () => {
    const cause = new Error('why')
    const details = { retryAfterMs: 5, progress: 7, recipients: ['bob'], cause }
    const error = new OspError('wrong-offset', 'the server has 7 bytes', details)
    assert.equal(error.message, 'the server has 7 bytes')
    assert.equal(error.retryAfterMs, 5)
    assert.equal(error.progress, 7)
    assert.deepEqual(error.recipients, ['bob'])
    assert.equal(error.cause, cause)
  })

  it('can be made from any thrown value', () => {
    const known = new OspError('closed')
    const other = new TypeError('x is not y')
    assert.equal(OspError.from(known), known)
    assert.equal(OspError.from(other).code, 'internal')
    assert.equal(OspError.from(other).message, 'x is not y')
    assert.equal(OspError.from(other).cause, other)
    assert.equal(OspError.from('text').message, 'text')
  })
})
