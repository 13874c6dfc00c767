import assert from 'node:assert/strict'
import { join } from 'node:path'
import { askControl, serveControl } from '../../../lib/adapters/controlSocket/controlSocket.ts'
import { type ErrorCode, OspError } from '../../../lib/errors.ts'
import type { Answering } from '../../../lib/ports/control.ts'
import { place } from '../../support/commands.ts'
import { closingServer, deadSocket, endless, strangeServer } from '../../support/controlClient.ts'
import { spec } from '../../support/spec.ts'

const echo: Answering = (request, reply) => reply(request)

const coded = (code: ErrorCode) => (error: unknown) => error instanceof OspError && error.code === code

spec('asking a control socket', (it) => {
  it('fails as unreachable if no program listens', async () => {
    await using at = await place()
    await assert.rejects(askControl(join(at.path, 'none'), {}), coded('unreachable'))
    await assert.rejects(askControl(at.path, {}), coded('unreachable'))
    await deadSocket(at.path)
    await assert.rejects(askControl(at.path, {}), coded('unreachable'))
    await at.write('file', '')
    await assert.rejects(askControl(join(at.path, 'file'), {}), coded('unreachable'))
  })

  it('fails if the other side disconnects before the last answer', async () => {
    await using at = await place()
    await using _server = await strangeServer(at.path, '{"taken":true}\n{"answer":1}\n', true)
    const answers: unknown[] = []
    await assert.rejects(
      askControl(at.path, {}, (answer) => answers.push(answer)),
      coded('link-lost'),
    )
    assert.deepEqual(answers, [1])
  })

  it('fails if the other side disconnects before it has received the request', async () => {
    await using at = await place()
    await using server = await closingServer(at.path)
    const { signal } = new AbortController()
    // The request adds its listener in the turn in which it connects, before it is written.
    signal.addEventListener = () => server.waitForClosed()
    await assert.rejects(askControl(at.path, {}, undefined, { signal }), coded('link-lost'))
  })

  for (const text of ['what?\n', '{"taken":true}\n{"done":false}\n', '[]\n', '{"error":"no"}\n']) {
    it(`fails if the other side answers ${JSON.stringify(text)}`, async () => {
      await using at = await place()
      await using _server = await strangeServer(at.path, text, false)
      await assert.rejects(askControl(at.path, {}), coded('malformed'))
    })
  }

  it('reads an unknown code as internal', async () => {
    await using at = await place()
    await using _server = await strangeServer(at.path, '{"error":{"code":"constructor","text":"new"}}\n', false)
    await assert.rejects(askControl(at.path, {}), { code: 'internal', message: 'new' })
  })

  it('fails if no program confirms the request', async () => {
    await using at = await place()
    await using _server = await strangeServer(at.path, '', false)
    await assert.rejects(askControl(at.path, {}, undefined, { silenceMs: 20 }), coded('timed-out'))
  })

  it('can be aborted', async () => {
    await using at = await place()
    const { handle, until } = endless()
    await using _control = await serveControl(at.path, handle)
    const stop = new AbortController()
    const asked = assert.rejects(askControl(at.path, {}, undefined, { signal: stop.signal }), coded('closed'))
    await until(({ begun }) => begun === 1)
    stop.abort()
    await asked
    await until(({ ended }) => ended === 1)
    await assert.rejects(askControl(at.path, {}, undefined, { signal: stop.signal }), coded('closed'))
  })

  it('refuses a request that is too long', async () => {
    await using at = await place()
    await assert.rejects(askControl(at.path, { text: 'x'.repeat(270_000) }), coded('too-large'))
  })

  it('fails with the error of the handler of answers', async () => {
    await using at = await place()
    await using _control = await serveControl(at.path, echo)
    const thrower = () => {
      throw new Error('a bug')
    }
    await assert.rejects(askControl(at.path, {}, thrower), /a bug/u)
  })
})
