import assert from 'node:assert/strict'
import { resolve } from '../../../bin/common/resolve.ts'
import { limitSettings } from '../../../bin/serve/limitSettings.ts'
import { limitsOf, serveSettings } from '../../../bin/serve/settings.ts'
import { defaultLimits } from '../../../lib/limits.ts'
import { limitsWith } from '../../../lib/limitsWith.ts'
import { spec } from '../../support/spec.ts'

const limitsFor = (flags: Readonly<Record<string, string>>) =>
  limitsOf(resolve(serveSettings, { flags, env: {}, prefix: 'OSPD', known: [] }))

spec('the settings of ospd serve', (it) => {
  it('have the defaults of the library, where they are limits', () => {
    assert.deepEqual(limitsWith(limitsFor({})), defaultLimits)
  })

  it('reach each a limit of its own, where they bound what strangers and users can take', () => {
    const changed = Object.keys(limitSettings).map((name) => {
      const { takes } = limitSettings[name as keyof typeof limitSettings]
      const value = takes.includes('duration') ? '7s' : takes.includes('size') ? '99k' : '77'
      const limits = limitsWith(limitsFor({ [name]: value }))
      return Object.entries(limits).filter(([limit, is]) => is !== defaultLimits[limit as keyof typeof defaultLimits])
    })
    for (const limits of changed) assert.equal(limits.length, 1)
    assert.equal(new Set(changed.map(([first]) => first?.[0])).size, changed.length)
  })
})
