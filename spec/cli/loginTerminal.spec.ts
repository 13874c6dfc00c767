import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { daemon, place, run } from '../support/commands.ts'
import { startNode } from '../support/processes.ts'
import { spec } from '../support/spec.ts'
import { commandLine, ctrlC, startOnTerminal, terminals } from '../support/terminal.ts'
import { tokenServer } from '../support/tokenServer.ts'

/** `osp login` on a terminal, after the prompt. */
async function asked() {
  const at = await tokenServer('osp_marked')
  const login = startOnTerminal('osp', ['login', ...at.flags])
  await login.printed(/token of alice at \S+: /u)
  return {
    at,
    login,
    type: (keys: string) => login.child.stdin?.write(keys),
    async [Symbol.asyncDispose]() {
      await login.kill()
      await at[Symbol.asyncDispose]()
    },
  }
}

spec('osp login on a terminal', (it) => {
  if (!terminals) return it.skip('asks', 'there is no script(1) to make a terminal')

  it('prompts for the token without echoing it', async () => {
    await using on = await asked()
    on.type('osp_marked\r')
    assert.equal((await on.login.ended).code, 0)
    const { address } = on.at.its
    assert.equal(on.login.stdout, `token of alice at ${address}: \r\nlogged in to ${address} as alice\r\n`)
    assert.equal(await readFile(on.at.kept, 'utf8'), 'osp_marked\nlocal\n')
  })

  it('asks to confirm a new TLS server first, and prompts for no token if it is not confirmed', async () => {
    await using at = await place()
    const data = join(at.path, 'data')
    const { stdout: token } = await run('ospd', ['user', 'add', 'alice', '--data', data])
    await using its = await daemon(data, ['--tls', 'auto'])
    const [, fingerprint = ''] = await its.printed(/fingerprint (\S+), data in/u)
    for (const [answer, code] of [
      [`${token.trim()}\r`, 4],
      ['y\r', 0],
    ] as const) {
      const flags = ['--tls', '--server', its.server, '--state', join(at.path, 'state'), '--user', 'alice']
      await using login = startOnTerminal('osp', ['login', ...flags])
      await login.printed(/is this the fingerprint that ospd printed\? \[y\/N\] /u)
      assert.ok(login.stdout.includes(`Its fingerprint is ${fingerprint}\r\n`), login.stdout)
      login.child.stdin?.write(answer)
      if (code === 0) {
        await login.printed(/token of alice at \S+: /u)
        login.child.stdin?.write(`  ${token.trim()} \r`)
      }
      assert.equal((await login.ended).code, code, login.stdout)
      assert.ok(!login.stdout.includes(token.slice(0, 8)), login.stdout)
      assert.equal(login.stdout.includes('token of'), code === 0)
    }
  })

  it('does not prompt if nothing listens, and exits with 3', async () => {
    await using at = await tokenServer()
    await at.its.server.close()
    await using login = startOnTerminal('osp', ['login', ...at.flags])
    assert.equal((await login.ended).code, 3)
    assert.match(login.stdout, /^osp: cannot connect to \S+ nothing listens there[^?]*$/u)
  })

  it('deletes characters with Backspace and Ctrl-U', async () => {
    await using on = await asked()
    on.type('nonsense\u0015osp_mx\u007Farked\r')
    assert.equal((await on.login.ended).code, 0)
  })

  it('exits with 130 at Ctrl-C, and stores nothing', async () => {
    await using on = await asked()
    on.type('osp_marked')
    on.type(ctrlC)
    assert.equal((await on.login.ended).code, 130)
    assert.ok(!on.login.stdout.includes('marked'))
    assert.ok(!existsSync(on.at.kept))
    assert.equal(on.at.log.length, 0)
  })

  it('restores the terminal however it ends', async () => {
    await using at = await tokenServer('osp_marked')
    const shell = ['sh', '-c', `exec script -qefc "$0" /dev/null`]
    for (const [keys, code] of [
      ['osp_marked\r', 0],
      [ctrlC, 130],
      ['two words\r', 2],
    ] as const) {
      const line = `stty -a > before; ${commandLine('osp', ['login', ...at.flags])}; echo "code $?"; stty -a > after; cmp before after && echo same`
      const running = startNode('dist/bin/osp.js', [], { under: [...shell, line], cwd: at.at.path })
      await using _ = running
      await running.printed(/token of/u)
      running.child.stdin?.write(keys)
      await running.printed(/same|differ/u)
      assert.match(running.stdout, new RegExp(`code ${code}\r\nsame`, 'u'))
    }
  })
})
