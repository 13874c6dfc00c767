import assert from 'node:assert/strict'
import { memorySource } from '../../support/memorySource.ts'
import { type Asked, nackOf, type ScriptedLink, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'

const bytes = new Uint8Array(100)
const granted = { instance: 3, progress: 0, chunk: 1_000, window: 1_000 }

/** Grants CONTINUE with a checkpoint of other bytes, after which the client releases the instance. */
async function disagree(link: ScriptedLink): Promise<void> {
  const asked = await link.expect('ContinuePostFileReq')
  const checkpoint = { checkpoint: 50, checkpointDigest: new Uint8Array(32) }
  link.reply(asked, { event: 'ContinuePostFileAck', ...granted, progress: 50, ...checkpoint })
  link.reply(await link.expect('PauseFileReq'), { event: 'PauseFileAck', progress: 50, durable: 50 })
}

async function refuse(server: ScriptedServer, link: ScriptedLink): Promise<Asked<'StartPostFileReq'>> {
  const asked = await link.expect('StartPostFileReq')
  link.reply(asked, nackOf('StartPostFileNack', 'no-idle-instance', { retryAfter: 1_000 }))
  await server.pass(10_000)
  return asked
}

spec('an upload that the server has with other bytes', (it) => {
  it('sends START until it is granted, after any number of refusals that are not final', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const upload = await client.upload(memorySource('a', bytes))
    const link = await server.link()
    await disagree(link)
    for (let refusals = 0; refusals < 5; refusals++) await refuse(server, link)
    link.reply(await link.expect('StartPostFileReq'), { event: 'StartPostFileAck', ...granted })
    const chunk = await link.expect('PostFileReq')
    assert.equal(chunk.message.progress, 0)
    link.reply(chunk, { event: 'PostFileAck', progress: 100, durable: 100 })
    link.reply(await link.expect('FileMd5Req'), { event: 'FileMd5Ack', storedName: 'a', replaced: 0 })
    assert.equal((await upload.done).storedName, 'a')
  })

  it('sends CONTINUE if START was granted and the link is lost', async () => {
    await using server = new ScriptedServer()
    await server.client().upload(memorySource('a', bytes))
    const link = await server.link()
    await disagree(link)
    link.reply(await link.expect('StartPostFileReq'), { event: 'StartPostFileAck', ...granted })
    await link.expect('PostFileReq')
    link.break()
    await (await server.link()).expect('ContinuePostFileReq')
  })
})
