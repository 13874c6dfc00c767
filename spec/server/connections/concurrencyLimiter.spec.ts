import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import type { FileClient } from '../../support/fileClient.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { turns } from '../../support/turns.ts'

spec('requests of a link to the file daemon', (it) => {
  it('run a few at once, in their order, and concurrently with those of other links', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const held = Array.from({ length: fixed.requestsAtOnce + 2 }, () => rig.storage.hold('remove'))
    const answers = held.map((_, at) => client.sendCancel(`${at}`))
    await held[fixed.requestsAtOnce - 1]?.reached
    await turn()
    assert.equal(rig.storage.count.get('remove'), fixed.requestsAtOnce)
    const other = await rig.client({ user: 'bob', session: 'other' })
    other.sendCancel('0')
    await held[fixed.requestsAtOnce]?.reached
    for (const one of held) one.go()
    for (const _ of answers) await client.raw.expect('CancelFileAck')
    await other.raw.expect('CancelFileAck')
    assert.equal(rig.storage.count.get('remove'), fixed.requestsAtOnce + 3)
  })

  it('are dropped when the link ends, except those that run already', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const held = Array.from({ length: fixed.requestsAtOnce }, () => rig.storage.hold('remove'))
    for (let at = 0; at < 300; at++) client.sendCancel(`${at}`)
    await held.at(-1)?.reached
    await client.vanish()
    await turns(() => rig.log.some(({ event }) => event === 'link-closed'))
    for (const one of held) one.go()
    const after = await rig.client({ session: 'after' })
    await after.cancel('x')
    assert.equal(rig.storage.count.get('remove'), fixed.requestsAtOnce + 1)
  })

  it('are limited for all links of a user together, which take turns; other users do not wait', async () => {
    await using rig = await ServerRig.start()
    const links: FileClient[] = []
    for (let at = 0; at < 4; at++) links.push(await rig.client({ session: `${at}` }))
    const held = Array.from({ length: fixed.requestsPerUserAtOnce + 1 }, () => rig.storage.hold('remove'))
    for (let at = 0; at < 20; at++) links[0]?.sendCancel(`0-${at}`)
    for (const [link, client] of links.entries()) for (let at = 0; at < 20; at++) client.sendCancel(`${link}-${at}`)
    await held[fixed.requestsPerUserAtOnce - 1]?.reached
    await turn()
    assert.equal(rig.storage.count.get('remove'), fixed.requestsPerUserAtOnce)
    const other = await rig.client({ user: 'bob', session: 'other' })
    other.sendCancel('0')
    await held[fixed.requestsPerUserAtOnce]?.reached
    for (const one of held) one.go()
    await other.raw.expect('CancelFileAck')
    for (const client of links) for (let at = 0; at < 20; at++) await client.raw.expect('CancelFileAck')
  })
})
