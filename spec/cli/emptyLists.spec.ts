import assert from 'node:assert/strict'
import { join } from 'node:path'
import { daemon, place, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'
import { commandLine, onTerminal, terminals } from '../support/terminal.ts'

spec('a list without entries', (it) => {
  it('is reported on a terminal, but not to a program or with --quiet or --json', async () => {
    await using at = await place()
    const data = join(at.path, 'data')
    await using server = await daemon(data)
    const osp = ['--server', server.server, '--user', 'bob', '--state', join(at.path, 'state')]
    const local = osp.slice(-2)
    const ospd = ['--data', data]
    const lists: readonly (readonly ['osp' | 'ospd', args: readonly string[], text: string])[] = [
      ['osp', ['ls', ...osp], 'there are no files'],
      ['osp', ['ls', 'a/', ...osp], 'no file has a name that begins with a/'],
      ['osp', ['inbox', ...osp], 'no messages are waiting'],
      ['osp', ['inbox', '--set-aside', ...osp], 'no messages were set aside'],
      ['osp', ['devices', ...osp], 'no devices are known; osp listen --device adds one'],
      ['osp', ['who', ...osp], 'no users are online'],
      ['osp', ['tasks', ...osp], 'there are no tasks'],
      ['osp', ['outbox', ...osp], 'the outbox is empty'],
      ['osp', ['context', ...local], 'there is no context; osp login creates one'],
      ['ospd', ['uploads', ...ospd], 'there are no unfinished uploads'],
      ['ospd', ['user', 'list', ...ospd], `${data} has no list of users; "ospd user add" creates one`],
    ]
    const onScreen = async (program: 'osp' | 'ospd', args: readonly string[]) =>
      (await onTerminal(commandLine(program, args), at.path, { NO_COLOR: '1' })).stdout
    const check = async ([program, args, text]: (typeof lists)[number]) => {
      assert.deepEqual(await run(program, args), { code: 0, stdout: '', stderr: '' })
      if (terminals) assert.equal(await onScreen(program, args), `${program}: ${text}\r\n`)
    }
    for (const list of lists) await check(list)
    await at.write('a', 'one')
    await run('osp', ['send', join(at.path, 'a'), ...osp])
    await check(['osp', ['tasks', ...osp], 'all files are stored; run "osp tasks --all" to list them'])
    await run('ospd', ['user', 'add', 'alice', ...ospd])
    await run('ospd', ['user', 'remove', 'alice', ...ospd])
    await check(['ospd', ['user', 'list', ...ospd], `the list of users in ${data} is empty: all logins are rejected`])
    if (!terminals) return
    assert.equal(await onScreen('osp', ['tasks', ...local, '--quiet']), '')
    assert.equal(await onScreen('osp', ['tasks', ...local, '--json']), '')
    assert.equal(await onScreen('ospd', ['uploads', ...ospd, '--json']), '')
  })
})
