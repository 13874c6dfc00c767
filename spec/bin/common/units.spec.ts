import assert from 'node:assert/strict'
import { formatPart, formatSize, formatTime, parseDuration, parseSize } from '../../../bin/common/units.ts'
import { spec } from '../../support/spec.ts'

spec('a size', (it) => {
  it('is parsed with the units k, M, G and T, which are powers of 1024', () => {
    const sizes = {
      '0': 0,
      '12': 12,
      '500k': 512_000,
      '10M': 10_485_760,
      '2G': 2 ** 31,
      '1.5K': 1_536,
      '1T': 2 ** 40,
      '3MiB': 3 * 2 ** 20,
    }
    for (const [text, bytes] of Object.entries(sizes)) assert.equal(parseSize(text), bytes, text)
  })

  it('is nothing else', () => {
    for (const text of ['', 'k', '-1', '1X', '1 M', '1e3', '0x10', '9999999T', 'NaN'])
      assert.equal(parseSize(text), undefined, text)
  })

  it('is formatted with three digits', () => {
    const sizes = [0, 999, 1_000, 1_024, 10_240, 1_048_575, 123_456_789, 2 ** 40 * 5_000]
    assert.deepEqual(sizes.map(formatSize), [
      '0 B',
      '999 B',
      '0.98 KiB',
      '1.00 KiB',
      '10.0 KiB',
      '1.00 MiB',
      '118 MiB',
      '5000 TiB',
    ])
  })

  it('is formatted with a part of it in the same unit', () => {
    assert.equal(formatPart(1_500_000, 12_500_000), '1.43 of 11.9 MiB')
    assert.equal(formatPart(0, 0), '0 of 0 B')
  })
})

spec('a duration', (it) => {
  it('is parsed with its unit', () => {
    const durations = { '0': 0, '500ms': 500, '30s': 30_000, '5m': 300_000, '1.5h': 5_400_000, '7d': 604_800_000 }
    for (const [text, ms] of Object.entries(durations)) assert.equal(parseDuration(text), ms, text)
  })

  it('is nothing else', () => {
    for (const text of ['', '30', '-1s', '1 s', '1w', 's']) assert.equal(parseDuration(text), undefined, text)
  })

  it('is formatted as hours, minutes and seconds', () => {
    const times = [0, 400, 59_000, 60_000, 3_599_000, 3_600_000, 45_296_000, 259_200_000]
    assert.deepEqual(times.map(formatTime), ['0 s', '1 s', '59 s', '1:00', '59:59', '1:00:00', '12:34:56', '3 d'])
  })
})
