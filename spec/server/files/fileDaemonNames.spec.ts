import assert from 'node:assert/strict'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(1_000)

spec('names', (it) => {
  const bad = [
    '',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    'a/../b',
    'cafe\u0301',
    'a\u0007',
    'a\u202e',
    'a\u200b',
    'a\ufeff',
    'a\\b',
    'a:b',
    'a.',
    'a ',
  ]
  for (const name of [...bad, 'nul', 'COM1.txt', 'x'.repeat(256), `${'x'.repeat(255)}/`.repeat(5).slice(0, 1_025)]) {
    const shown = name.length > 20 ? `${name.slice(0, 5)}… (${name.length} characters)` : JSON.stringify(name)
    it(`do not include ${shown}: START, CONTINUE and CANCEL of it are refused`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      await client.startRefused({ name, bytes }, 'bad-name')
      await client.continueRefused({ name, bytes }, 'bad-name')
      client.sendCancel(name)
      await client.raw.refused('CancelFileNack', 'bad-name')
    })
  }

  it('keep the characters of emoji and scripts', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    for (const name of ['👩\u200d💻.png', 'می\u200cخواهم', '❤\ufe0f'])
      assert.equal(await client.upload({ name, bytes }), name)
  })

  it('have up to 1,024 bytes and parts of up to 255', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const name = [255, 255, 255, 256 - 2 - 1].map((length) => 'x'.repeat(length)).join('/')
    assert.equal(await client.upload({ name: name.padEnd(1_024, '/yz'), bytes }), name.padEnd(1_024, '/yz'))
  })

  const taken: readonly [string, string, string][] = [
    ['below a stored file', 'a', 'a/b'],
    ['above a stored file', 'a/b', 'a'],
  ]
  for (const [where, stored, name] of taken) {
    it(`${where} are refused at START and CONTINUE`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      await client.upload({ name: stored, bytes })
      await client.startRefused({ name, bytes }, 'name-conflict')
      await client.continueRefused({ name, bytes }, 'name-conflict')
    })

    it(`${where.replace('a stored file', 'an open upload')} are refused at START and CONTINUE`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      await client.start({ name: stored, bytes })
      await client.startRefused({ name, bytes }, 'name-conflict')
      await client.continueRefused({ name, bytes }, 'name-conflict')
    })
  }

  it('of other users do not conflict', async () => {
    await using rig = await ServerRig.start()
    await (await rig.client({ user: 'alice' })).upload({ name: 'a', bytes })
    await (await rig.client({ user: 'bob' })).upload({ name: 'a/b', bytes })
    await rig.assertStored('a', bytes, 'alice')
    await rig.assertStored('a/b', bytes, 'bob')
  })
})
