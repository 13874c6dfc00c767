import assert from 'node:assert/strict'
import { join } from 'node:path'
import { KiB, MiB } from '../../lib/limits.ts'
import { ballast } from '../support/ballast.ts'
import { daemon, place, run } from '../support/commands.ts'
import { segmentIn } from '../support/messageSurvival.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'
import { canInject, injecting } from '../support/strace.ts'
import { canMount, smallDisk } from '../testing/storage/places.ts'

spec('osp msg to a server whose disk is full', (it) => {
  if (!canMount) return it.skip('says so, and stores nothing', 'this process may not mount a small disk')

  it('says so and exits with 5, and stores nothing; with free space, only the next message is delivered', async () => {
    await using disk = await smallDisk(20 * MiB)
    await using at = await place()
    await using server = await daemon(join(disk.path, 'data'))
    const flags = ['--server', server.server, '--state', join(at.path, 'state')]
    const msg = ['msg', 'bob', ...flags, '--user', 'alice']
    using weight = ballast(disk.path, 128 * KiB)
    const { code, stderr } = await run('osp', [...msg, 'refused'])
    assert.equal(code, 5, stderr)
    assert.match(stderr, /the server's disk is full/u)
    weight.throwOff()
    assert.equal((await run('osp', [...msg, 'later'])).stdout, 'bob stored\n')
    const { stdout } = await run('osp', ['listen', ...flags, '--user', 'bob', '--count', '1'])
    assert.deepEqual(stdout.match(/(?<= alice ).*/gu), ['later'])
  })
})

spec('a disk that has no space for a message after all', (it) => {
  if (!canInject) return it.skip('loses no message', 'strace is missing, or may not trace here')

  it('causes a refusal; sent again when there is space, the message arrives once, and so do the following ones', async () => {
    await using at = await MortalServer.in()
    const paths = [segmentIn(at.data), segmentIn(at.data, 2), segmentIn(at.data, 3)]
    await at.daemon([], injecting({ calls: 'pwrite64', fault: 'error=ENOSPC', when: '3..4', paths }))
    const alice = at.client()
    for (let refused = 0; refused < 2; refused++) await assert.rejects(alice.send(['bob'], '1'), { code: 'disk-full' })
    for (const text of ['1', '2']) await alice.send(['bob'], text)
    const bob = new Recipient(at.client({ user: 'bob' }))
    await bob.got('2')
    assert.deepEqual(bob.texts, ['1', '2'])
  })
})
