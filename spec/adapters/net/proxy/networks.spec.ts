import assert from 'node:assert/strict'
import { isNetwork, networkCheck } from '../../../../lib/adapters/net/proxy/networks.ts'
import { spec } from '../../../support/spec.ts'

spec('a network', (it) => {
  for (const text of [
    '10.0.0.1',
    '10.0.0.0/24',
    '10.0.0.7/24',
    '0.0.0.0/0',
    '10.0.0.1/32',
    '::1',
    '::/0',
    '2001:db8::/128',
  ])
    it(`can be ${text}`, () => assert.ok(isNetwork(text)))

  for (const text of [
    ...['', '10.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/08', '10.0.0.0/24/1', '/24', 'localhost'],
    ...['2001:db8::/129', 'fe80::1%eth0', 'fe80::%eth0/64', '[::1]', '::ffff:10.0.0.1', '::ffff:10.0.0.0/120', ' ::1'],
  ])
    it(`cannot be ${JSON.stringify(text)}`, () => assert.ok(!isNetwork(text)))

  for (const [network, inside, outside] of [
    [
      '10.0.0.0/24',
      ['10.0.0.0', '10.0.0.255', '::ffff:10.0.0.9', '::FFFF:10.0.0.9'],
      ['10.0.1.0', '::ffff:10.0.1.0', ''],
    ],
    ['10.0.0.7/24', ['10.0.0.200'], ['10.0.1.7']],
    ['10.0.0.7', ['10.0.0.7'], ['10.0.0.8']],
    ['0.0.0.0/0', ['192.0.2.1'], ['::1', '2001:db8::1']],
    ['2001:db8::/33', ['2001:db8:7fff::1'], ['2001:db8:8000::1', '192.0.2.1']],
    ['fe80::/10', ['fe80::1%eth0', 'febf::1'], ['fec0::1']],
    ['::/0', ['::1', '2001:db8::1'], ['192.0.2.1', '::ffff:192.0.2.1']],
  ] as const) {
    it(`${network} contains its addresses and no others`, () => {
      const contains = networkCheck(['198.51.100.1', network])
      for (const address of inside) assert.ok(contains(address), address)
      for (const address of outside) assert.ok(!contains(address), address)
      assert.ok(contains('198.51.100.1'))
    })
  }

  it('contains no address if there is none', () => assert.ok(!networkCheck([])('10.0.0.1')))
})
