import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import { type ProxyHeader, readProxyHeader } from '../../../lib/adapters/net/proxy/header.ts'
import { assertCoded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { cutUp, mutated } from '../mutate.ts'
import { type Pieces, plainTarget } from '../target.ts'

/** PROXY headers in arbitrary pieces: they are read like the whole header, within a bounded number of bytes. */
export const proxyTarget = plainTarget({ make, run })

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const mostBytes = 4_096

function make(draw: Draw): Pieces {
  const header = draw.once(2) ? textHeader(draw) : binaryHeader(draw)
  const bytes = Buffer.concat([header, draw.bytes(draw.pick([0, 0, 1, 40, 200]))])
  return cutUp(draw.once(3) ? bytes : mutated(bytes, draw), draw, draw.pick([1, 5, 30, 5_000]))
}

const ipv4 = ['192.0.2.1', '255.255.255.255', '0.0.0.0', '10.0.0.01', '1.2.3', '::1']
const ipv6 = ['::', '2001:db8::1', 'FE80::1', '::ffff:192.0.2.1', 'fe80::1%lo', ':::', '1.2.3.4']
const ports = ['0', '1', '6682', '65535', '65536', '00', '-1', '']

function textHeader(draw: Draw): Buffer {
  const family = draw.pick(['TCP4', 'TCP6', 'UNKNOWN', 'TCP', ''])
  const address = () => draw.pick(family === 'TCP4' ? ipv4 : ipv6)
  const words = ['PROXY', family, address(), address(), draw.pick(ports), draw.pick(ports)]
  const line = words.slice(0, draw.once(4) ? draw.from(1, 6) : 6).join(draw.once(20) ? '  ' : ' ')
  return Buffer.from(line + draw.pick(['\r\n', '\r\n', '\r\n', '\n', '\r', 'x'.repeat(110)]), 'latin1')
}

function binaryHeader(draw: Draw): Buffer {
  const length = draw.pick([0, 11, 12, 35, 36, 37, 216, 300, 4_080, 4_081, 65_535])
  const given = Math.min(length, 4_200)
  const head = [draw.pick([0x20, 0x21, 0x22, 0x11, 0x31]), draw.pick([0, 0x11, 0x12, 0x21, 0x22, 0x31, 0x41, 0x13])]
  return Buffer.concat([signature, Uint8Array.of(...head, length >> 8, length & 0xff), draw.bytes(given)])
}

function run(pieces: Pieces): void {
  const whole = Buffer.concat(pieces)
  const expected = outcomeOf(whole)
  let bytes = Buffer.alloc(0)
  let outcome = outcomeOf(bytes)
  for (const piece of pieces) {
    if (outcome !== undefined) break
    bytes = Buffer.concat([bytes, piece])
    outcome = outcomeOf(bytes)
    if (bytes.length >= mostBytes) assert.notEqual(outcome, undefined, `nothing is known after ${bytes.length} bytes`)
  }
  // More bytes never change what is known.
  if (outcome !== undefined) assert.deepEqual(expected, outcome)
  if (typeof expected === 'object') check(expected, whole)
}

function outcomeOf(bytes: Uint8Array): ProxyHeader | 'malformed' | undefined {
  try {
    return readProxyHeader(bytes)
  } catch (error) {
    assertCoded(error, 'malformed')
    return 'malformed'
  }
}

/** Compares a header with its bytes. */
function check({ length, command, source }: ProxyHeader, bytes: Buffer): void {
  assert.ok(length >= 15 && length <= Math.min(bytes.length, mostBytes))
  const isText = bytes.toString('latin1', 0, 6) === 'PROXY '
  if (isText) assert.equal(bytes.indexOf('\r\n'), length - 2)
  else assert.ok(bytes.subarray(0, 12).equals(signature) && length === 16 + bytes.readUInt16BE(14))
  if (!source) return
  assert.equal(command, 'proxy')
  assert.ok(source.port >= 0 && source.port <= 65_535 && Number.isInteger(source.port))
  assert.ok(isIP(source.host) > 0 && !source.host.includes('%'), source.host)
}
