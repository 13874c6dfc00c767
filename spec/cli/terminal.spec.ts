import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { daemon, place, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'
import { commandLine, onTerminal, screenOf, escapeCode as start, terminals } from '../support/terminal.ts'

const command = (...args: readonly string[]) => commandLine('osp', ['send', ...args])

spec('osp send on a terminal', (it) => {
  if (!terminals) return it.skip('shows bars', 'there is no script(1) to make a terminal')

  it('shows bars while it sends, and leaves only the lines on the terminal', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    for (const name of ['一.bin', 'two.bin']) await at.write(name, randomBytes(1_000_000))
    const line = command('一.bin', 'two.bin', '--server', server.server, '--limit-rate', '1M')
    const { code, stdout } = await onTerminal(line, at.path)
    assert.equal(code, 0)
    assert.match(stdout, /一\.bin +[^\n]*[█▒][^\n]*%/u)
    assert.match(stdout, /0 of 2 files/u)
    assert.ok(stdout.includes(`${start}[32m`))
    assert.ok(!stdout.includes(`${start}[?25l`), 'the cursor was hidden')
    const wraps = [...stdout.matchAll(/\[\?7(?<wrap>[lh])/gu)].map(({ groups }) => groups?.wrap).join('')
    assert.match(wraps, /^(?:l+h+){5,}$/u, 'lines wrap only while bars are drawn')
    const left = stdout.slice(stdout.lastIndexOf(`${start}[0J`))
    assert.doesNotMatch(left, /█/u)
    assert.match(left, /osp:[^\n]* 2 files stored, 1\.91 MiB in /u)
    for (const name of ['一.bin', 'two.bin']) assert.match(stdout, new RegExp(`[\\da-f]{64} {2}${name}\\r\\n`, 'u'))
  })

  it('leaves the result of each file on the screen, above the summary, and no bar', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    const names = ['a.bin', 'b.bin', 'c.bin', 'd.bin']
    for (const [index, name] of names.entries()) await at.write(name, randomBytes(200_000 + 400_000 * index))
    const line = command(...names, '--server', server.server, '--limit-rate', '1M')
    const { stdout } = await onTerminal(line, at.path, { NO_COLOR: '1' })
    const lines = screenOf(stdout).filter((text) => text !== '')
    assert.deepEqual(
      lines.map((text) => /^[\da-f]{64} {2}(?<name>\S+)$|(?<summary>4 files stored)/u.exec(text)?.slice(1).join('')),
      [...names, '4 files stored'],
    )
  })

  it('counts replaced files in its last line', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    const names = ['one', 'two', 'three']
    for (const name of names) await at.write(name, 'x')
    await onTerminal(command(...names, '--server', server.server), at.path)
    for (const name of names.slice(1)) await at.write(name, 'another')
    const { stdout } = await onTerminal(command(...names, '--server', server.server), at.path)
    assert.match(stdout, /osp:[^\n]* 3 files stored \(2 replaced another file\), /u)
  })

  it('prints no colours with NO_COLOR', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    await at.write('a.bin', randomBytes(1_000_000))
    const line = command('a.bin', '--server', server.server, '--limit-rate', '1M')
    const { stdout } = await onTerminal(line, at.path, { NO_COLOR: '1' })
    assert.match(stdout, /a\.bin +[█▒]/u)
    assert.ok(!/\[\d+m/u.test(stdout))
  })

  it('prints only results on a redirected stdout', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    await at.write('a.bin', randomBytes(600_000))
    const line = command('a.bin', '--server', server.server, '--limit-rate', '1M')
    const { code } = await onTerminal(`${line} >out; sha256sum -c out`, at.path)
    assert.equal(code, 0)
  })

  it('does not overwrite the output of the next program of the pipeline', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    for (const name of ['a.bin', 'b.bin']) await at.write(name, randomBytes(600_000))
    const line = command('a.bin', 'b.bin', '--server', server.server, '--limit-rate', '1M')
    const { code, stdout } = await onTerminal(`${line} | sha256sum -c`, at.path, { NO_COLOR: '1' })
    assert.equal(code, 0)
    assert.ok(!stdout.includes(start), 'the cursor was moved')
    for (const name of ['a.bin', 'b.bin']) assert.match(stdout, new RegExp(`^${name}: OK\\r\\n`, 'mu'))
  })

  it('shows no bars with --quiet or --json', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    await at.write('a.bin', randomBytes(600_000))
    const flags = ['a.bin', '--server', server.server, '--limit-rate', '1M']
    const { stdout } = await onTerminal(command(...flags, '--quiet'), at.path)
    assert.match(stdout, /^[\da-f]{64} {2}a\.bin\r\n$/u)
    assert.equal((await run('osp', ['send', ...flags], { cwd: at.path })).stderr, '')
  })
})
