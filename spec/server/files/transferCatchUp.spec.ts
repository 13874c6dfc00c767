import assert from 'node:assert/strict'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }

spec('an upload whose digest catches up after a restart', (it) => {
  it('makes no checkpoint while another link claims it, and continues there', async () => {
    await using rig = await ServerRig.start({ checkpointBytes: 100 })
    const first = await rig.client({ session: 'one' })
    const { instance } = await first.start(file)
    await first.chunk(instance, 0, bytes.subarray(0, 400))
    await first.pause(instance)
    await rig.server.close()
    await rig.restart({}, { checkpointBytes: 100 })

    const read = rig.storage.hold('read')
    const second = await rig.client({ session: 'two' })
    const continued = await second.continue(file)
    assert.equal(continued.progress, 400)
    await second.chunk(continued.instance, 400, bytes.subarray(400, 800))
    await read.reached
    const third = await rig.client({ session: 'three' })
    const claim = rig.storage.hold('claim')
    third.sendContinue(file)
    await claim.reached
    const before = rig.storage.count.get('checkpoint')
    read.go()
    await turn()
    await turn()
    assert.equal(rig.storage.count.get('checkpoint'), before)
    claim.go()
    const taken = await third.raw.expect('ContinuePostFileAck')
    assert.equal(taken.progress, 800)
    await third.chunk(taken.instance, 800, bytes.subarray(800))
    await third.end(taken.instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })
})
