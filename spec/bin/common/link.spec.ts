import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { type Client, OspError } from 'ospd'
import { keptContexts } from 'ospd/node'
import { LinkReporter, type LinkValues, watchLink } from '../../../bin/common/link.ts'
import { resolve, serverAddress } from '../../../bin/common/settings.ts'
import type { TokenSource } from '../../../bin/common/token.ts'
import { listenCommand } from '../../../bin/listen/listen.ts'
import { loginCommand } from '../../../bin/login/login.ts'
import { msgCommand } from '../../../bin/msg/msg.ts'
import { sendCommand } from '../../../bin/send/send.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const token = { advice: () => undefined } as unknown as TokenSource
const unreachable = new OspError('unreachable', 'cannot connect to host:1: nothing listens there', {
  reason: 'nothing listens there',
})

/** Records the lines that a command prints about its link. */
function lines(quiet = false, more: Partial<LinkValues> = {}) {
  const said: string[] = []
  const values = { server: { host: 'host', port: 1 }, 'retry-for': 10_000, quiet, json: false, ...more }
  const link = new LinkReporter(values, (text) => said.push(text))
  return { said, link }
}

/** Returns the lines about a client that passes through these statuses and then does nothing until the timer fires. */
async function told(...statuses: readonly string[]): Promise<readonly string[]> {
  const client = new EventEmitter()
  const all: string[] = []
  const reporter = {
    connecting: () => all.push('connecting'),
    waiting: () => all.push('waiting'),
    online: () => all.push('online'),
    gaveUp: () => all.push('gave up'),
  } as unknown as LinkReporter
  watchLink(client as unknown as Client, token, reporter, 0)
  for (const status of statuses) client.emit('status', status, status === 'waiting' ? unreachable : undefined)
  await new Promise((resolve) => setTimeout(resolve, 5))
  return all
}

spec('the address of a server', (it) => {
  const read = (text: string) => serverAddress.schema.safeParse(text).data

  it('is a name or an IP address; IPv6 addresses are in brackets, with their zone', () => {
    assert.deepEqual(read('files.example'), { host: 'files.example', port: 6682 })
    assert.deepEqual(read('[::1]:7'), { host: '::1', port: 7 })
    assert.deepEqual(read('[fe80::1%eth0]:7'), { host: 'fe80::1%eth0', port: 7 })
    assert.deepEqual(read('[fe80::1%br-0.12:1]'), { host: 'fe80::1%br-0.12:1', port: 6682 })
    for (const wrong of ['fe80::1%eth0', '[fe80::1%]', '[fe80::1%a b]', '[fe80::1%a/b]', '[%eth0]', '[fe80::1%eth0:7'])
      assert.equal(read(wrong), undefined, wrong)
  })
})

spec('a command that connects', (it) => {
  it('is reported once if it has neither connected nor failed for a while', async () => {
    assert.deepEqual(await told(), [])
    assert.deepEqual(await told('connecting'), ['connecting'])
    assert.deepEqual(await told('connecting', 'online'), ['online'])
    assert.deepEqual(await told('connecting', 'waiting', 'connecting'), ['waiting'])
  })

  it('says what it waits for, why, for how long, and how to change that', () => {
    const { said, link } = lines()
    link.waiting(unreachable, 700)
    link.waiting(unreachable, 700)
    assert.deepEqual(said, [
      'waiting for host:1: nothing listens there; next try in 1 s; giving up after 10 s (--retry-for)',
    ])
  })

  it('reports a missing answer once, and then other errors', () => {
    const { said, link } = lines()
    link.connecting()
    link.waiting(new OspError('timed-out'), 700)
    link.waiting(unreachable, 700)
    link.online()
    assert.deepEqual(said, [
      'waiting for host:1: no answer yet; giving up after 10 s (--retry-for)',
      'waiting for host:1: nothing listens there; next try in 1 s; giving up after 10 s (--retry-for)',
      'connected to host:1',
    ])
  })

  it('reports another program at the port if the first answer is not of this protocol', () => {
    const { said, link } = lines(true)
    link.connecting()
    link.gaveUp(new OspError('malformed', 'a frame announces 1213486160 bytes'))
    assert.deepEqual(said, [
      'gave up on host:1: the program there does not speak the ospd protocol; check the port (a frame announces 1213486160 bytes)',
    ])
    link.online()
    link.gaveUp(new OspError('malformed', 'a frame arrived damaged'))
    assert.equal(said.at(-1), 'gave up on host:1: a frame arrived damaged')
  })

  it('says that no context is selected if nothing can be reached at the default address', async () => {
    await using at = await place()
    const server = { host: '127.0.0.1', port: 6682 }
    const { said, link } = lines(false, { server, state: at.path })
    link.gaveUp(unreachable)
    const advice =
      'this is the default server, and no context is selected; specify --server, run "osp context use NAME", or run "osp login"'
    assert.deepEqual(said, ['gave up on 127.0.0.1:6682: nothing listens there', advice])
    await keptContexts(at.path).use({ server: '127.0.0.1:6682', user: 'bob', tls: false })
    link.gaveUp(unreachable)
    assert.equal(said.length, 3)
  })

  it('retries for ten seconds if it is interactive, and otherwise for five minutes', () => {
    const times = [msgCommand, loginCommand, sendCommand, listenCommand].map(({ settings }) => {
      return resolve(settings, { flags: {}, env: {}, prefix: 'OSP', known: [] })['retry-for']
    })
    assert.deepEqual(times, [10_000, 10_000, 300_000, 300_000])
  })
})
