import assert from 'node:assert/strict'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { fixed } from '../../../lib/limits.ts'
import { claimed } from '../../../lib/testing/storage/steps.ts'
import { spec } from '../../support/spec.ts'

spec('unfinished uploads', (it) => {
  it('are limited for each user, by a share of the free ones, and in all; an existing one continues, and an ended one frees a place', async () => {
    await using storage = memory()
    await storage.open(nodePlatform())
    const fill = async (user: string, many: number) => {
      for (let name = 0; name < many; name++) await claimed(storage, { user, name: `${name}` })
    }
    for (const user of ['u0', 'u1', 'u2', 'u3']) await fill(user, fixed.unfinishedPerUser)
    // A user has at most as many uploads as are free.
    await fill('u4', 1_000)
    await assert.rejects(claimed(storage, { user: 'u4', name: 'more' }), {
      code: 'too-many-uploads',
      message: /^u4 has 1000 .*, the maximum for one user while there are 9000 in all; finish or cancel/u,
    })
    await fill('u5', 500)
    await assert.rejects(fill('u5', 501), { code: 'too-many-uploads' })
    for (let user = 0; user < 500; user++) await claimed(storage, { user: `new-${user}` })
    const one = { user: 'u0', name: 'one more' }
    await assert.rejects(claimed(storage, one), {
      code: 'too-many-uploads',
      message: /^u0 has 2000 unfinished.*cancel/,
    })
    await assert.rejects(claimed(storage, { user: 'new' }), { code: 'too-many-uploads', message: /^there are 10000/ })
    await claimed(storage, { user: 'u0', name: '7' })
    await claimed(storage, { user: 'u0', name: '7', size: 9 })
    await storage.transfers.remove('u0', '7')
    await assert.rejects(claimed(storage, one), { code: 'too-many-uploads' })
    await claimed(storage, { user: 'new' })
    // With one more, this user has as many uploads as are free.
    for (let name = 0; name < fixed.unfinishedPerUser; name++) await storage.transfers.remove('u1', `${name}`)
    await storage.transfers.remove('u2', '0')
    await claimed(storage, one)
  })
})
