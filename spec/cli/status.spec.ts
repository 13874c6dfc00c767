import assert from 'node:assert/strict'
import { existsSync, lstatSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { serve } from 'ospd'
import { serveControl } from 'ospd/node'
import { commandEvents, type Status, statusEvent } from '../../bin/common/events.ts'
import { statusLines } from '../../bin/status/status.ts'
import { daemon, place, run, start } from '../support/commands.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'

/** Resolves with the status of a daemon. */
async function statusOf(data: string): Promise<Status> {
  const { code, stdout, stderr } = await run('ospd', ['status', '--data', data, '--json'])
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  const [{ v: _v, event, ...status } = {}, ...more] = published(stdout, commandEvents.status)
  assert.deepEqual([event, more.length], ['status', 0])
  return statusEvent.parse(status)
}

/** Asks until the condition holds. */
async function statusWith(data: string, holds: (status: Status) => boolean): Promise<Status> {
  for (;;) {
    const status = await statusOf(data)
    if (holds(status)) return status
  }
}

const absent = async (data: string, flags: readonly string[] = []) => {
  const expected = { code: 3, stdout: '', stderr: `ospd: no daemon is running with the data directory ${data}\n` }
  assert.deepEqual(await run('ospd', ['status', '--data', data, ...flags]), expected)
}

spec('ospd status', (it) => {
  it('prints running uploads, waiting messages and online users', async () => {
    await using at = await place()
    const data = join(at.path, 'data')
    await using server = await daemon(data)
    const flags = ['--server', server.server, '--state', join(at.path, 'state')]
    await at.write('slow.bin', new Uint8Array(2_000_000))
    await using _send = start('osp', ['send', 'slow.bin', '--limit-rate', '20k', '--user', 'al ice', ...flags], {
      cwd: at.path,
    })
    await using _listen = start('osp', ['listen', '--user', 'carol', ...flags])
    assert.equal((await run('osp', ['msg', 'bob', 'hello', '--user', 'carol', ...flags])).code, 0)
    const isThere = ({ online, uploads, links }: Status) =>
      online.length > 0 && links === 2 && (uploads[0]?.progress ?? 0) > 0
    const status = await statusWith(data, isThere)
    const [{ progress, durable, ...upload } = { progress: 0, durable: 0 }] = status.uploads
    assert.deepEqual(upload, { user: 'al ice', name: 'slow.bin', size: 2_000_000 })
    assert.ok(0 <= durable && durable <= progress && progress < 2_000_000)
    assert.deepEqual(status.online, ['carol'])
    assert.deepEqual(status.mailboxes, [{ user: 'bob', messages: 1, bytes: 6 }])
    assert.deepEqual([status.mailboxMessages, status.mailboxBytes], [10_000, 64 * 1024 * 1024])
    assert.deepEqual([status.moreOnline, status.moreUploads, status.moreMailboxes], [0, 0, 0])
    assert.deepEqual([status.pid, status.host, status.port], [server.child.pid, '127.0.0.1', server.port])
    const { code, stdout, stderr } = await run('ospd', ['status', '--data', data])
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
    const [first, ...lines] = stdout.split('\n')
    assert.ok(first?.startsWith(`ospd on ${server.server}, data in ${data}, process ${server.child.pid}, up for `))
    assert.match(
      lines.join('\n'),
      /^online:\n {2}carol\nuploads:\n {2}al ice {2}slow\.bin {2}\d+ % {2}[\d.]+ of 1\.91 MiB {2}.* durable\nmailboxes:\n {2}bob {2}1 of 10000 messages {2}\d+ B of 64\.0 MiB\n$/u,
    )
  })

  it('prints the state of an idle daemon', async () => {
    await using at = await place()
    await using _server = await daemon(at.path)
    const { stdout } = await run('ospd', ['status'], { env: { OSPD_DATA: at.path } })
    assert.match(stdout, /, 0 links\nonline: none\nuploads: none\nmailboxes: none\n$/u)
  })

  it('prints the fingerprint of a daemon with TLS', async () => {
    await using at = await place()
    await using server = await daemon(at.path, ['--tls', 'auto'])
    const [, fingerprint] = await server.printed(/fingerprint (SHA256:\S{43}), data in/u)
    assert.equal((await statusOf(at.path)).fingerprint, fingerprint)
    const { stdout } = await run('ospd', ['status', '--data', at.path])
    assert.ok(stdout.startsWith(`ospd on ${server.server} with TLS, fingerprint ${fingerprint}, data in ${at.path}, `))
  })

  it('exits with 3 if no daemon is running', async () => {
    await using at = await place()
    await absent(at.path)
    await absent(at.path, ['--json'])
  })

  it('names the process of a server that a program embeds, and exits with 3', async () => {
    await using at = await place()
    await using server = await serve({ listen: 0, storage: at.path })
    const { code, stdout, stderr } = await run('ospd', ['status', '--data', at.path])
    assert.deepEqual([code, stdout], [3, ''])
    const text = `ospd: ${at.path} is in use by process ${process.pid}, since `
    assert.ok(stderr.startsWith(text) && stderr.includes('it embeds a server (use server.status() there)'), stderr)
    await server.close()
    await absent(at.path)
  })

  it('rejects a missing directory, and a file, with exit code 2', async () => {
    await using at = await place()
    await at.write('file', '')
    for (const [name, text] of [
      ['none', 'does not exist; specify the data directory of the daemon'],
      ['file', 'is a file, not a directory; specify a directory'],
    ] as const) {
      const path = join(at.path, name)
      const { code, stdout, stderr } = await run('ospd', ['status', '--data', path])
      assert.deepEqual([code, stdout, stderr.split('\n')[0]], [2, '', `ospd: --data ${path} ${text}`])
    }
  })

  it('finds a daemon that was killed and restarted', async () => {
    await using at = await place()
    await using first = await daemon(at.path)
    await first.kill('SIGKILL')
    assert.ok(existsSync(join(at.path, 'control.sock')))
    await absent(at.path)
    await using second = await daemon(at.path)
    assert.equal((await statusOf(at.path)).pid, second.child.pid)
  })

  it('does not mistake another process with the id of a killed daemon for a server', async () => {
    if (process.platform !== 'linux') return
    await using at = await place()
    await using first = await daemon(at.path)
    await first.kill('SIGKILL')
    const path = join(at.path, 'daemon.json')
    const text = readFileSync(path, 'utf8')
    const reused = text.replace(String(first.child.pid), String(process.pid))
    assert.notEqual(reused, text)
    writeFileSync(path, reused)
    await absent(at.path)
  })

  it('reports a daemon of another version', async () => {
    await using at = await place()
    await using _control = await serveControl(at.path, (_request, reply) => reply({ strange: true }))
    const { code, stderr } = await run('ospd', ['status', '--data', at.path])
    assert.equal(code, 1)
    assert.equal(stderr, `ospd: the daemon that uses ${at.path} has another version; use its commands\n`)
  })

  it('takes no operand', async () => {
    const { code, stderr } = await run('ospd', ['status', 'now'])
    assert.equal(code, 2)
    assert.match(stderr, /^ospd: status takes no operand now$/mu)
  })

  it('aligns columns, escapes control characters, and says why the mailboxes are not known', () => {
    const status: Status = {
      pid: 1,
      host: '::1',
      port: 6682,
      uptimeMs: 65_000,
      links: 1,
      online: ['文', 'b'],
      moreOnline: 3,
      uploads: [
        { user: '文文', name: 'a\u001B[31m', size: 0, progress: 0, durable: 0 },
        { user: 'b', name: 'c', size: 2048, progress: 1023, durable: 512 },
      ],
      moreUploads: 0,
      mailboxes: [{ user: 'b\u0007', messages: 10, bytes: 1024 }],
      moreMailboxes: 1,
      mailboxMessages: 100,
      mailboxBytes: 2048,
    }
    assert.deepEqual(
      statusLines(status, '/d\n', (text) => text.toUpperCase()),
      [
        'ospd on [::1]:6682, data in /d\\n, process 1, up for 1:05, 1 link',
        'ONLINE:',
        '  文',
        '  b',
        '  and 3 more',
        'UPLOADS:',
        '  文文  a\\u001b[31m  100 %  0 of 0 B          0 B durable',
        '  b     c            49 %   1.00 of 2.00 KiB  512 B durable',
        'MAILBOXES:',
        '  b\\u0007  10 of 100 messages  1.00 KiB of 2.00 KiB',
        '  and 1 more',
      ],
    )
    const unknown = { ...status, mailboxes: [], problem: 'the database\u0007 is away' }
    const lines = statusLines(unknown, '/d', (text) => text)
    assert.equal(lines.at(-1), 'mailboxes: unknown (the database\\u0007 is away)')
  })
})

spec('the control socket of ospd serve', (it) => {
  it('is private to its owner, and is removed with the daemon', async () => {
    await using at = await place()
    await using server = await daemon(at.path)
    const found = lstatSync(join(at.path, 'control.sock'))
    assert.ok(found.isSocket())
    assert.equal(found.mode & 0o777, 0o600)
    await server.kill('SIGTERM')
    assert.ok(!existsSync(join(at.path, 'control.sock')))
  })

  it('is optional: if it cannot be created, the daemon says so and runs without it', async () => {
    await using at = await place()
    await using first = await daemon(at.path)
    await first.kill('SIGTERM')
    await at.write('control.sock', 'in the way')
    await using second = await daemon(at.path)
    await second.printed(/ warn {2}no-control code=internal text=".*is not a socket.*move it away"/u)
    await second.kill('SIGTERM')
    assert.deepEqual(await second.ended, { code: 0, signal: null })
  })
})
