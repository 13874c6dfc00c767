import assert from 'node:assert/strict'
import { type Again, codeOf, type ErrorCode, errors, numberOf, OspError } from '../lib/errors.ts'
import { spec } from './support/spec.ts'

/** The codes as docs/protocol.md gives them; what helps besides waiting is `recover`. */
const onWire: readonly [number, ErrorCode, Again][] = [
  [1, 'malformed', 'no'],
  [2, 'unsupported-version', 'no'],
  [3, 'unauthorized', 'no'],
  [4, 'rate-limited', 'later'],
  [5, 'shutting-down', 'later'],
  [6, 'internal', 'later'],
  [7, 'no-idle-instance', 'later'],
  [8, 'too-many-uploads', 'later'],
  [9, 'file-busy', 'later'],
  [10, 'superseded', 'no'],
  [11, 'instance-lost', 'recover'],
  [12, 'wrong-offset', 'recover'],
  [13, 'digest-mismatch', 'recover'],
  [14, 'disk-full', 'later'],
  [15, 'quota-exceeded', 'later'],
  [16, 'too-large', 'no'],
  [17, 'bad-name', 'no'],
  [18, 'name-conflict', 'no'],
  [19, 'file-exists', 'no'],
  [20, 'cancelled', 'no'],
  [21, 'unsupported-digest', 'no'],
  [22, 'clients-full', 'later'],
  [23, 'not-registered', 'recover'],
  [24, 'wrong-node', 'no'],
  [25, 'too-many-recipients', 'no'],
  [26, 'unknown-user', 'no'],
  [27, 'mailbox-full', 'later'],
  [28, 'id-reused', 'no'],
  [29, 'slow-consumer', 'later'],
  [30, 'timed-out', 'later'],
  [31, 'storage-unusable', 'no'],
  [32, 'overloaded', 'later'],
  [33, 'link-replaced', 'later'],
]

const codes = Object.keys(errors) as ErrorCode[]

spec('the error codes', (it) => {
  it('that travel have the numbers of the protocol, and say whether trying again helps', () => {
    const travelling = codes.filter((code) => errors[code].number !== undefined)
    assert.deepEqual(
      travelling.map((code) => [errors[code].number, code, errors[code].again]),
      onWire,
    )
  })

  it('are read from the number that they are written as', () => {
    for (const [number, code] of onWire) {
      assert.equal(numberOf(code), number)
      assert.equal(codeOf(number), code)
    }
  })

  it('of a later version are read as internal', () => {
    for (const number of [0, 34, 0xffff]) assert.equal(codeOf(number), 'internal')
  })

  it('that never travel are written as internal', () => {
    assert.equal(numberOf('link-lost'), errors.internal.number)
  })

  it('are kebab-case, each with a sentence of its own', () => {
    for (const code of codes) assert.match(code, /^[a-z]+(-[a-z]+)*$/u)
    assert.equal(new Set(codes.map((code) => errors[code].text)).size, codes.length)
  })
})

spec('an OspError', (it) => {
  it('carries its code, its sentence and whether trying again helps', () => {
    const error = new OspError('disk-full')
    assert.equal(error.code, 'disk-full')
    assert.equal(error.message, errors['disk-full'].text)
    assert.equal(error.again, 'later')
    assert.equal(error.retryAfterMs, 0)
    assert.equal(error.progress, undefined)
    assert.equal(error.cause, undefined)
    assert.ok(!('cause' in error))
  })

  it('carries what the peer said besides', () => {
    const cause = new Error('why')
    const details = { retryAfterMs: 5, progress: 7, recipients: ['bob'], cause }
    const error = new OspError('wrong-offset', 'the server has 7 bytes', details)
    assert.equal(error.message, 'the server has 7 bytes')
    assert.equal(error.retryAfterMs, 5)
    assert.equal(error.progress, 7)
    assert.deepEqual(error.recipients, ['bob'])
    assert.equal(error.cause, cause)
  })

  it('is made of anything that was thrown', () => {
    const known = new OspError('closed')
    const other = new TypeError('x is not y')
    assert.equal(OspError.from(known), known)
    assert.equal(OspError.from(other).code, 'internal')
    assert.equal(OspError.from(other).message, 'x is not y')
    assert.equal(OspError.from(other).cause, other)
    assert.equal(OspError.from('text').message, 'text')
  })
})
