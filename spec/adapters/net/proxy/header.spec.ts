import assert from 'node:assert/strict'
import { type ProxyHeader, readProxyHeader } from '../../../../lib/adapters/net/proxy/header.ts'
import { spec } from '../../../support/spec.ts'

/* The vectors are written by hand from the specification of the PROXY protocol (2020/03/05, sections 2.1 and 2.2). */

const text = (line: string) => Buffer.from(line, 'latin1')
const hex = (digits: string) => Buffer.from(digits.replaceAll(' ', ''), 'hex')
const signature = '0d0a0d0a 000d0a51 5549540a'

const ipv4 = 'c0000201 c6336402 dc04 1a1a'
const ipv6 = '20010db8 00000000 00000000 00000001 20010db8 00000000 00000000 00000002 dc04 1a1a'
/** A checksum (type 3), a field without content (type 4), and a unique id (type 5). */
const fields = '03 0004 a1b2c3d4 04 0000 05 0002 6869'

const valid: readonly (readonly [name: string, bytes: Buffer, header: ProxyHeader])[] = [
  ...(
    [
      ['TCP4 192.0.2.1 198.51.100.2 56324 6682', { host: '192.0.2.1', port: 56_324 }],
      ['TCP4 255.255.255.255 255.255.255.255 65535 65535', { host: '255.255.255.255', port: 65_535 }],
      ['TCP4 0.0.0.0 0.0.0.0 0 0', { host: '0.0.0.0', port: 0 }],
      ['TCP6 2001:db8::1 2001:db8::2 56324 6682', { host: '2001:db8::1', port: 56_324 }],
      ['TCP6 2001:DB8:0:0:0:0:0:1 ::1 1 2', { host: '2001:db8::1', port: 1 }],
      ['TCP6 ::ffff:192.0.2.1 ::1 1 2', { host: '::ffff:192.0.2.1', port: 1 }],
      [
        'TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535',
        { host: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', port: 65_535 },
      ],
    ] as const
  ).map(([line, source]) => {
    const bytes = text(`PROXY ${line}\r\n`)
    return [`v1 ${line}`, bytes, { length: bytes.length, command: 'proxy', source }] as const
  }),
  ['v1 UNKNOWN', text('PROXY UNKNOWN\r\n'), { length: 15, command: 'proxy' }],
  [
    'v1 UNKNOWN of the maximum length, with addresses',
    text(`PROXY UNKNOWN ${'f'.repeat(91)}\r\n`),
    { length: 107, command: 'proxy' },
  ],
  [
    'v2 TCP over IPv4',
    hex(`${signature} 21 11 000c ${ipv4}`),
    { length: 28, command: 'proxy', source: { host: '192.0.2.1', port: 56_324 } },
  ],
  [
    'v2 TCP over IPv4 with further fields',
    hex(`${signature} 21 11 001b ${ipv4} ${fields}`),
    { length: 43, command: 'proxy', source: { host: '192.0.2.1', port: 56_324 } },
  ],
  [
    'v2 TCP over IPv6',
    hex(`${signature} 21 21 0024 ${ipv6}`),
    { length: 52, command: 'proxy', source: { host: '2001:db8::1', port: 56_324 } },
  ],
  [
    'v2 TCP over IPv6 with further fields',
    hex(`${signature} 21 21 0033 ${ipv6} ${fields}`),
    { length: 67, command: 'proxy', source: { host: '2001:db8::1', port: 56_324 } },
  ],
  ['v2 UDP over IPv4', hex(`${signature} 21 12 000c ${ipv4}`), { length: 28, command: 'proxy' }],
  ['v2 Unix', hex(`${signature} 21 31 00d8 ${'00'.repeat(216)}`), { length: 232, command: 'proxy' }],
  ['v2 without a family', hex(`${signature} 21 00 0000`), { length: 16, command: 'proxy' }],
  ['v2 without a family, with fields', hex(`${signature} 21 00 000f ${fields}`), { length: 31, command: 'proxy' }],
  ['v2 LOCAL', hex(`${signature} 20 00 0000`), { length: 16, command: 'local' }],
  ['v2 LOCAL with an address', hex(`${signature} 20 11 000c ${ipv4}`), { length: 28, command: 'local' }],
  ['v2 LOCAL with an unknown family', hex(`${signature} 20 ff 0001 00`), { length: 17, command: 'local' }],
  [
    'v2 of the maximum length',
    hex(`${signature} 21 11 0ff0 ${ipv4} ${'00'.repeat(4_068)}`),
    { length: 4_096, command: 'proxy', source: { host: '192.0.2.1', port: 56_324 } },
  ],
]

/** Invalid headers, with the number of bytes after which they are refused. */
const invalid: readonly (readonly [name: string, bytes: Buffer, after?: number])[] = [
  ['a frame', hex('00000000 01'), 1],
  ['a record of TLS', hex('16 0301'), 1],
  ['a request of HTTP', text('GET / HTTP/1.1\r\n'), 1],
  ['PROXX', text('PROXX TCP4'), 5],
  ['a changed signature', hex('0d0a0d0a 000d0a51 5549540b'), 12],
  ...[
    'TCP5 192.0.2.1 198.51.100.2 1 2',
    'TCP4',
    '',
    'constructor a b 1 2',
    'tcp4 192.0.2.1 198.51.100.2 1 2',
    'TCP4 192.0.2.1 198.51.100.2 1',
    'TCP4 192.0.2.1 198.51.100.2 1 2 3',
    'TCP4 192.0.2.1  198.51.100.2 1 2',
    'TCP4 192.0.2.1 198.51.100.2 1 2 ',
    'TCP4 192.0.2.01 198.51.100.2 1 2',
    'TCP4 192.0.2 198.51.100.2 1 2',
    'TCP4 192.0.2.256 198.51.100.2 1 2',
    'TCP4 2001:db8::1 2001:db8::2 1 2',
    'TCP6 192.0.2.1 198.51.100.2 1 2',
    'TCP6 fe80::1%eth0 ::1 1 2',
    'TCP6 2001:db8:::1 ::1 1 2',
    'TCP4 192.0.2.1 nowhere 1 2',
    'TCP4 192.0.2.1 198.51.100.2 01 2',
    'TCP4 192.0.2.1 198.51.100.2 -1 2',
    'TCP4 192.0.2.1 198.51.100.2 65536 2',
    'TCP4 192.0.2.1 198.51.100.2 1 0x2',
    'TCP4 192.0.2.1 198.51.100.2 1 2\n',
  ].map((line) => [`v1 ${JSON.stringify(line)}`, text(`PROXY ${line}\r\n`)] as const),
  ['v1 without a line end', text(`PROXY UNKNOWN ${'x'.repeat(93)}`), 107],
  ['v1 with its line end after 107 bytes', text(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`), 107],
  ['v2 of version 1', hex(`${signature} 11 11 000c ${ipv4}`), 16],
  ['v2 of version 3', hex(`${signature} 31 11 000c ${ipv4}`), 16],
  ['v2 with an unknown command', hex(`${signature} 22 11 000c ${ipv4}`), 16],
  ['v2 with an unknown family', hex(`${signature} 21 41 000c ${ipv4}`), 16],
  ['v2 with an unknown protocol', hex(`${signature} 21 13 000c ${ipv4}`), 16],
  ['v2 with a short IPv4 address', hex(`${signature} 21 11 000b ${ipv4}`), 16],
  ['v2 with a short IPv6 address', hex(`${signature} 21 21 0023 ${ipv6}`), 16],
  ['v2 with a short Unix address', hex(`${signature} 21 31 00d7 ${'00'.repeat(215)}`), 16],
  ['v2 that is longer than the maximum', hex(`${signature} 21 11 0ff1`), 16],
  ['v2 LOCAL that is longer than the maximum', hex(`${signature} 20 00 ffff`), 16],
]

spec('a PROXY header', (it) => {
  for (const [name, bytes, header] of valid) {
    it(`is read: ${name}`, () => {
      for (let length = 0; length < bytes.length; length++)
        assert.equal(readProxyHeader(bytes.subarray(0, length)), undefined, `after ${length} bytes`)
      assert.deepEqual(readProxyHeader(bytes), header)
      const more = Buffer.concat([bytes, text('PROXY UNKNOWN\r\n'.repeat(20))])
      assert.deepEqual(readProxyHeader(more), header)
    })
  }

  for (const [name, bytes, after = bytes.length] of invalid) {
    it(`is refused as soon as it cannot be one: ${name}`, () => {
      assert.equal(readProxyHeader(bytes.subarray(0, after - 1)), undefined)
      for (const length of [after, bytes.length]) {
        assert.throws(() => readProxyHeader(bytes.subarray(0, length)), {
          code: 'malformed',
          message: /^the PROXY header is missing or not valid: /u,
        })
      }
    })
  }
})
