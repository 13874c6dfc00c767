import assert from 'node:assert/strict'
import { originOf } from '../lib/origins.ts'
import { spec } from './support/spec.ts'

spec('links are counted', (it) => {
  it('by an IPv4 address, even if it is mapped into IPv6', () => {
    for (const host of ['192.0.2.7', '::ffff:192.0.2.7', '::FFFF:c000:207', '0:0:0:0:0:ffff:192.0.2.7']) {
      assert.equal(originOf(host), '192.0.2.7')
    }
  })

  it('by the network of an IPv6 address, however it is written', () => {
    const same = ['2001:db8::1', '2001:DB8:0:0:ffff:ffff:ffff:ffff', '2001:0db8:0000::2', '2001:db8::192.0.2.7']
    assert.deepEqual([...new Set(same.map(originOf))], ['2001:db8:0:0::/64'])
    assert.notEqual(originOf('2001:db8:0:1::1'), originOf('2001:db8::1'))
  })

  it('without the interface of an address', () => {
    assert.equal(originOf('fe80::1%eth0'), 'fe80:0:0:0::/64')
    assert.equal(originOf('::1'), '0:0:0:0::/64')
  })

  it('by any other name of a peer as it is', () => {
    for (const host of ['memory', '', '/run/ospd.sock', 'a:b', '1::2::3', '1:2:3:4:5:6:7:8:9', 'C:\\pipe%1']) {
      assert.equal(originOf(host), host)
    }
  })
})
