import assert from 'node:assert/strict'
import { join } from 'node:path'
import { place, run, start } from '../support/commands.ts'
import { databaseMissing } from '../support/postgres.ts'
import { spec } from '../support/spec.ts'
import { initialized } from './sharedCluster.ts'

spec('servers of a cluster', (it) => {
  if (databaseMissing !== undefined) return it.skip('deliver every message to each device', databaseMissing)

  it('deliver every message to each device of a user once, also after the server of one was killed', async () => {
    await using shared = await initialized()
    await using at = await place()
    await using one = await shared.serve('one')
    await using two = await shared.serve('two')
    const listen = (device: string, server: string, count: number) =>
      start('osp', [
        ...['listen', '--server', server, '--user', 'bob', '--device', device, '-n', `${count}`],
        ...['--state', join(at.path, device)],
      ])
    const send = async (text: string) => {
      const sent = await run('osp', ['msg', '--server', two.server, '--user', 'alice', 'bob', text])
      assert.equal(sent.code, 0, sent.stderr)
    }
    await using laptop = listen('laptop', two.server, 3)
    await using former = listen('phone', one.server, 9)
    await send('first')
    await Promise.all([laptop, former].map((device) => device.printed(/alice first\n/u)))
    await send('second')
    await Promise.all([laptop, former].map((device) => device.printed(/alice second\n/u)))
    await one.kill('SIGKILL')
    await former.kill('SIGKILL')
    await send('third')
    await using phone = listen('phone', two.server, 9)
    // It is marked if the killed server was not declared dead before it was stored: that server may have delivered it.
    await phone.printed(/alice (?:\(again\?\) )?third\n/u)
    assert.equal((await laptop.ended).code, 0, laptop.stderr)
    assert.deepEqual(laptop.stdout.match(/(?<=alice )\w+/gu), ['first', 'second', 'third'])
    // What the killed device has just printed can be delivered again, and is then marked.
    assert.doesNotMatch(phone.stdout, /alice (?:first|second)/u)
    const inbox = () => run('osp', ['inbox', '--server', two.server, '--user', 'bob'])
    while (/alice/u.test((await inbox()).stdout));
  })
})
