import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { daemon, place, run } from '../support/commands.ts'
import { startCommand } from '../support/processes.ts'
import { spec } from '../support/spec.ts'
import { commandLine, ctrlC, startOnTerminal, terminals } from '../support/terminal.ts'

/** Sends a file slowly on a terminal. */
async function sending() {
  const at = await place()
  const server = await daemon(join(at.path, 'data'))
  await at.write('a.bin', randomBytes(2_000_000))
  const common = ['--server', server.server, '--state', join(at.path, 'state')]
  const send = startOnTerminal('osp', ['send', join(at.path, 'a.bin'), '--limit-rate', '500k', ...common])
  await send.printed(/[█▒]/u)
  const tasks = async () => (await run('osp', ['tasks', ...common])).stdout
  return {
    send,
    tasks,
    type: (keys: string) => send.child.stdin?.write(keys),
    partials: () => readdir(join(at.path, 'data', 'partial')),
    async [Symbol.asyncDispose]() {
      await send.kill('SIGKILL')
      await server[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
}

spec('the keys of osp send', (it) => {
  if (!terminals) return it.skip('steer it', 'there is no script(1) to make a terminal')

  it('p pauses what is sent, and lets it go on', async () => {
    await using at = await sending()
    at.type('p')
    await at.send.printed(/paused; press p to continue[\s\S]*a\.bin[^\n]*paused/u)
    assert.match(await at.tasks(), /^1 +paused/mu)
    at.type('p')
    await at.send.printed(/[\da-f]{64} {2}/u)
    assert.equal((await at.send.ended).code, 0)
    assert.deepEqual(await at.partials(), [])
  })

  it('c cancels it, if that is meant', async () => {
    await using at = await sending()
    at.type('c')
    await at.send.printed(/y or n/u)
    at.type('n')
    await at.send.printed(/nothing is cancelled/u)
    at.type('c')
    at.type('y')
    await at.send.ended
    assert.deepEqual(await at.partials(), [])
    assert.equal(await at.tasks(), '')
  })

  it('Ctrl-Z stops every program of the line, and gives the terminal back until it goes on', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'data'))
    await at.write('a.bin', randomBytes(2_000_000))
    await using shell = startCommand('script', ['-qefc', 'sh -i', '/dev/null'], {
      env: { TERM: 'xterm', NO_COLOR: '1', OSP_STATE: join(at.path, 'state'), PS1: '$ ' },
    })
    const type = (text: string) => shell.child.stdin?.write(text)
    const send = commandLine('osp', ['send', join(at.path, 'a.bin'), '--server', server.server, '--limit-rate', '500k'])
    type(`${send} >${join(at.path, 'sums')}\n`)
    await shell.printed(/[█▒]/u)
    type('\u001A')
    await shell.printed(/Stopped/u)
    const shown = shell.stdout.length
    type('stty -a\n')
    await shell.printed(/ icanon/u)
    assert.ok(!/[█▒]/u.test(shell.stdout.slice(shown)), 'it has drawn on')
    type('fg; echo "it has ended with" $?\n')
    await shell.printed(/it has ended with 0/u)
    assert.match(shell.stdout.slice(shown), /[█▒]/u)
    type('exit\n')
    await shell.ended
  })

  for (const [name, key] of [
    ['q', 'q'],
    ['Ctrl-C', ctrlC],
  ] as const) {
    it(`${name} leaves it for later`, async () => {
      await using at = await sending()
      at.type(key)
      assert.equal((await at.send.ended).code, 130)
      assert.match(await at.tasks(), /^1 +waiting/mu)
      assert.equal((await at.partials()).length, 1)
    })
  }
})
