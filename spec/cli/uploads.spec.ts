import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { commandEvents } from '../../bin/common/events.ts'
import { openControl } from '../../bin/serve/control.ts'
import { defaultLimits, KiB } from '../../lib/limits.ts'
import { place, run } from '../support/commands.ts'
import { patterned } from '../support/memorySource.ts'
import { published } from '../support/published.ts'
import { ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { commandLine, onTerminal, terminals } from '../support/terminal.ts'

const file = (name: string) => ({ name, bytes: patterned(8 * KiB) })

/** Starts a server on disk with half-sent uploads of these names. */
async function withUploads(...names: string[]) {
  const rig = await ServerRig.onDisk()
  const client = await rig.client()
  for (const name of names) {
    const { instance } = await client.start(file(name))
    await client.chunk(instance, 0, file(name).bytes.subarray(0, 4 * KiB))
    await client.pause(instance)
  }
  return { rig, client, data: rig.directory }
}

const uploads = (data: string, ...args: string[]) => run('ospd', ['uploads', ...args, '--data', data])

spec('ospd uploads', (it) => {
  it('asks the running daemon, which can also remove running uploads', async () => {
    const { rig, client, data } = await withUploads('x/a b', 'c')
    await using _rig = rig
    await using _control = await openControl(data, rig.server, {
      limits: defaultLimits,
      fingerprint: () => undefined,
      log: () => {},
    })
    const { instance } = await client.continue(file('c'))
    const { stdout } = await uploads(data)
    assert.match(stdout, /^alice\/x\/a b {2}4\.00 of 8\.00 KiB {2}4\.00 KiB on disk {2}idle for .+$/mu)
    assert.match(stdout, /^alice\/c {6}4\.00 of 8\.00 KiB {2}4\.00 KiB on disk {2}running$/mu)
    assert.deepEqual(await uploads(data, 'remove', '--older-than', '1h'), { code: 0, stdout: '', stderr: '' })
    assert.deepEqual(await uploads(data, 'remove', 'alice/c', 'alice/no'), {
      code: 1,
      stdout: 'alice/c removed\n',
      stderr: 'ospd: there is no unfinished upload alice/no\n',
    })
    await client.chunkRefused(instance, 4 * KiB, file('c').bytes.subarray(4 * KiB), 'cancelled')
    assert.equal(readdirSync(join(data, 'partial')).length, 1)
  })

  it('works in the directory if no daemon runs', async () => {
    const { rig, data } = await withUploads('a')
    await using _rig = rig
    await rig.server.close()
    const { stdout } = await uploads(data, '--json')
    const [{ v: _v, idleMs, ...upload } = { v: 1, idleMs: -1 }] = published(stdout, commandEvents.uploads)
    assert.ok(Number(idleMs) >= 0)
    const disk = { size: 8 * KiB, durable: 4 * KiB, diskBytes: 4 * KiB }
    assert.deepEqual(upload, { event: 'upload', user: 'alice', name: 'a', ...disk, running: false })
    if (terminals) {
      const line = commandLine('ospd', ['uploads', '--data', data, '--older-than', '1h'])
      const screen = await onTerminal(line, data, { NO_COLOR: '1' })
      assert.equal(screen.stdout, 'ospd: no unfinished upload has been idle for that long\r\n')
    }
    assert.deepEqual(await uploads(data, 'remove', '--older-than', '0'), {
      code: 0,
      stdout: 'alice/a removed\n',
      stderr: '',
    })
    assert.deepEqual(readdirSync(join(data, 'partial')), [])
    await rig.restart()
    assert.deepEqual(await rig.records(), [])
  })

  it('reports wrong usage, and a missing directory', async () => {
    await using at = await place()
    const cases = [
      [['remove'], 2, /specify the uploads to remove: USER\/NAME, or --older-than TIME/u],
      [['remove', 'alice'], 2, /alice is not an upload; write USER\/NAME/u],
      [['list', 'alice/a'], 2, /uploads list takes no operand alice\/a/u],
      [[], 2, /--data .*none does not exist; specify the data directory of the daemon/u],
    ] as const
    const outcomes = cases.map(async ([args, code, text]) => {
      const outcome = await uploads(join(at.path, 'none'), ...args)
      assert.equal(outcome.code, code, outcome.stderr)
      assert.match(outcome.stderr, text)
    })
    await Promise.all(outcomes)
  })
})
