import assert from 'node:assert/strict'
import { resolve } from '../../../bin/common/resolve.ts'
import { limitSettings, limitsOf } from '../../../bin/serve/limitSettings.ts'
import { serveSettings } from '../../../bin/serve/settings.ts'
import { defaultLimits, type Limits, limitsWith } from '../../../lib/limits.ts'
import { spec } from '../../support/spec.ts'

const limitsFor = (flags: Readonly<Record<string, string>>) =>
  limitsOf(resolve(serveSettings, { flags, env: {}, prefix: 'OSPD', known: [] }))

spec('the settings of ospd serve', (it) => {
  it('have the defaults of the library, where they are limits', () => {
    assert.deepEqual(limitsWith(limitsFor({})), defaultLimits)
  })

  it('set one limit each, if they are in the table of limits', () => {
    const changed = Object.entries(limitSettings).map(([name, { takes }]) => {
      const value = takes.includes('duration') ? '7s' : takes.includes('size') ? '99k' : '77'
      const limits = limitsWith(limitsFor({ [name]: value }))
      const names = Object.keys(limits) as (keyof Limits)[]
      // The flag --reserve sets it in addition to reserveBytes.
      return names.filter((limit) => limits[limit] !== defaultLimits[limit] && limit !== 'reservePercent')
    })
    for (const limits of changed) assert.equal(limits.length, 1)
    assert.equal(new Set(changed.map(([first]) => first)).size, changed.length)
  })
})
