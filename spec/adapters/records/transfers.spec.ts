import assert from 'node:assert/strict'
import { memory } from '../../../lib/adapters/memoryStorage.ts'
import { nodePlatform } from '../../../lib/adapters/nodePlatform.ts'
import { claimed } from '../../../lib/contract/storage/steps.ts'
import { fixed } from '../../../lib/limits.ts'
import { spec } from '../../support/spec.ts'

spec('unfinished uploads that are kept', (it) => {
  it('are limited for each user and in all; an existing one continues, and one that ends makes room', async () => {
    await using storage = memory()
    await storage.open(nodePlatform())
    const users = Math.ceil(fixed.unfinishedUploads / fixed.unfinishedPerUser)
    for (let user = 0; user < users; user++) {
      const names = Array.from({ length: fixed.unfinishedPerUser }, (_, name) => `${name}`)
      await Promise.all(names.map((name) => claimed(storage, { user: `u${user}`, name })))
    }
    const one = { user: 'u0', name: 'one more' }
    await assert.rejects(claimed(storage, one), {
      code: 'too-many-uploads',
      message: /^u0 has 2000 unfinished.*cancel/,
    })
    await assert.rejects(claimed(storage, { user: 'new' }), { code: 'too-many-uploads', message: /^there are 10000/ })
    await claimed(storage, { user: 'u0', name: '7' })
    await claimed(storage, { user: 'u0', name: '7', size: 9 })
    await storage.transfers.remove('u0', '7')
    await claimed(storage, one)
  })
})
