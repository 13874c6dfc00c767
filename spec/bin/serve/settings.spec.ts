import assert from 'node:assert/strict'
import { resolve } from '../../../bin/common/settings.ts'
import { limitSettings, limitsOf, serveSettings } from '../../../bin/serve/settings.ts'
import { defaultLimits, type Limits, limitsWith } from '../../../lib/limits.ts'
import { spec } from '../../support/spec.ts'

const limitsFor = (flags: Readonly<Record<string, string>>) =>
  limitsOf(resolve(serveSettings, { flags, env: {}, prefix: 'OSPD', known: [] }))

spec('the settings of ospd serve', (it) => {
  it('have the default limits of the library', () => {
    assert.deepEqual(limitsWith(limitsFor({})), defaultLimits)
  })

  it('set one limit each, if they are flags of the table of limits', () => {
    const changed = Object.entries(limitSettings).map(([name, { takes }]) => {
      const value = takes.includes('duration') ? '7s' : takes.includes('size') ? '99k' : '57'
      const limits = limitsWith(limitsFor({ [name]: value }))
      const names = Object.keys(limits) as (keyof Limits)[]
      // The flag --reserve sets it in addition to reserveBytes.
      return names.filter((limit) => limits[limit] !== defaultLimits[limit] && limit !== 'reservePercent')
    })
    for (const limits of changed) assert.equal(limits.length, 1)
    assert.equal(new Set(changed.map(([first]) => first)).size, changed.length)
  })

  it('name the flag and its range in the error for a value that is out of range', () => {
    const wrong = {
      'file-instances': ['70000', 'it takes a whole number from 1 to 65535'],
      'keep-alive': ['2h', 'it takes a duration from 100ms to 1h, such as 500ms, 30s, 5m or 7d'],
      'idle-time': ['0', 'it takes a duration of at least 1ms, such as 500ms, 30s, 5m or 7d'],
      'bytes-per-second': ['63k', 'it takes a size of at least 64k, such as 500k, 10M or 2G'],
      'sender-share': ['101', 'it takes a whole number from 1 to 100'],
    }
    for (const [flag, [value = '', takes]] of Object.entries(wrong)) {
      assert.throws(() => limitsFor({ [flag]: value }), { message: `--${flag} cannot be "${value}": ${takes}` })
    }
  })
})
