import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { askControl, serveControl } from '../../../lib/adapters/controlSocket/controlSocket.ts'
import { type ErrorCode, OspError } from '../../../lib/errors.ts'
import type { Answering } from '../../../lib/ports/control.ts'
import { place } from '../../support/commands.ts'
import { type ControlClient, controlClient, endless } from '../../support/controlClient.ts'
import { spec } from '../../support/spec.ts'

const echo: Answering = (request, reply) => reply(request)

const coded = (code: ErrorCode) => (error: unknown) => error instanceof OspError && error.code === code

/** Resolves with the code of the last error that a client received. */
async function receivedCode({ lines }: ControlClient): Promise<string | undefined> {
  return ((await lines).at(-1) as { error?: { code: string } } | undefined)?.error?.code
}

spec('a control socket loses only the connection of a client', (it) => {
  for (const [what, text, code] of [
    ['that sends garbage', '\u0000\u0001 GET / HTTP/1.1\r\n', 'malformed'],
    ['whose JSON is not an object', '["status"]\n', 'malformed'],
    ['that sends nothing before the end of the line', '\n', 'malformed'],
    ['that nests its garbage deep', `${'['.repeat(60_000)}\n`, 'malformed'],
    ['whose line is too long', `{"a":"${'x'.repeat(270_000)}"}\n`, 'too-large'],
    ['whose line never ends', 'x'.repeat(270_000), 'too-large'],
  ] as const) {
    it(what, async () => {
      await using at = await place()
      await using _control = await serveControl(at.path, echo)
      using client = controlClient(at.path)
      client.write(text)
      assert.equal(await receivedCode(client), code)
      assert.deepEqual(await askControl(at.path, { a: 1 }), { a: 1 })
    })
  }

  for (const [what, second] of [
    ['a second request', '{"b":2}\n'],
    ['the beginning of a second request', '{'],
  ] as const) {
    it(`that sends ${what}`, async () => {
      await using at = await place()
      const { handle, until } = endless()
      await using _control = await serveControl(at.path, handle)
      using client = controlClient(at.path)
      client.write('{"a":1}\n')
      await until(({ begun }) => begun === 1)
      client.write(second)
      assert.equal(await receivedCode(client), 'malformed')
      await until(({ ended }) => ended === 1)
    })
  }

  it('that sends no request', async () => {
    await using at = await place()
    await using _control = await serveControl(at.path, echo, { silenceMs: 20 })
    using client = controlClient(at.path)
    assert.equal(await receivedCode(client), 'timed-out')
  })

  it('that sends its request one byte at a time', async () => {
    await using at = await place()
    await using _control = await serveControl(at.path, echo, { silenceMs: 200 })
    using client = controlClient(at.path)
    const trickle = setInterval(() => client.write('{'), 5)
    try {
      assert.equal(await receivedCode(client), 'timed-out')
    } finally {
      clearInterval(trickle)
    }
  })

  it('that does not read its answer', async () => {
    await using at = await place()
    const { handle, until } = endless('x'.repeat(4_000_000))
    await using _control = await serveControl(at.path, handle, { silenceMs: 50 })
    using client = controlClient(at.path)
    client.stopReading()
    client.write('{}\n')
    await until(({ ended }) => ended === 1)
  })

  it('with too many unread answers', async () => {
    await using at = await place()
    let ended = (_megabytes: number) => {}
    const given = new Promise<number>((resolve) => {
      ended = resolve
    })
    await using _control = await serveControl(at.path, async (_request, reply, signal) => {
      let megabytes = 0
      for (; !signal.aborted; megabytes++) {
        reply('x'.repeat(1_000_000))
        await new Promise((resolve) => setImmediate(resolve))
      }
      ended(megabytes)
    })
    using client = controlClient(at.path)
    client.stopReading()
    client.write('{}\n')
    const megabytes = await given
    assert.ok(megabytes > 4 && megabytes < 20, `${megabytes} MB`)
  })

  it('that disconnects, and aborts its handler', async () => {
    await using at = await place()
    const { handle, until } = endless()
    await using _control = await serveControl(at.path, handle)
    const client = controlClient(at.path)
    client.write('{}\n')
    await until(({ begun }) => begun === 1)
    client[Symbol.dispose]()
    await until(({ ended }) => ended === 1)
  })

  it('beyond the maximum number, until another one disconnects', async () => {
    await using at = await place()
    const { handle, until } = endless()
    await using control = await serveControl(at.path, handle)
    const clients = Array.from({ length: 32 }, () => controlClient(at.path))
    for (const client of clients) client.write('{}\n')
    await until(({ begun }) => begun === 32)
    await assert.rejects(askControl(at.path, {}), coded('rate-limited'))
    clients[0]?.[Symbol.dispose]()
    await until(({ ended }) => ended === 1)
    const asked = askControl(at.path, {}).catch(() => {})
    await until(({ begun }) => begun === 33)
    for (const client of clients) client[Symbol.dispose]()
    await until(({ ended }) => ended === 32)
    await control.close()
    await asked
  })

  it('that is one of hundreds too many', async () => {
    await using at = await place()
    const { handle, until } = endless()
    await using control = await serveControl(at.path, handle)
    const clients = Array.from({ length: 300 }, () => controlClient(at.path))
    for (const client of clients) client.write('{}\n')
    await until(({ begun }) => begun === 32)
    // Clients that are not served are disconnected, with or without an error.
    await Promise.all(clients.slice(32).map(({ lines }) => lines))
    await control.close()
    for (const client of clients) client[Symbol.dispose]()
  })
})

spec('a control socket that is closed', (it) => {
  it('ends its clients, and waits for their handlers', async () => {
    await using at = await place()
    const { handle, until } = endless()
    const control = await serveControl(at.path, handle)
    using idle = controlClient(at.path)
    const asked = askControl(at.path, {})
    const refused = assert.rejects(asked, coded('shutting-down'))
    await until(({ begun }) => begun === 1)
    let ended = false
    void until(({ ended }) => ended === 1).then(() => {
      ended = true
    })
    await control.close()
    assert.ok(ended)
    await refused
    await idle.lines
    assert.ok(!existsSync(join(at.path, 'control.sock')))
  })

  it('does not wait for a client that does not read', async () => {
    await using at = await place()
    const { handle, until } = endless('x'.repeat(4_000_000))
    const control = await serveControl(at.path, handle)
    using client = controlClient(at.path)
    client.stopReading()
    client.write('{}\n')
    await until(({ begun }) => begun === 1)
    await control.close()
  })
})
