import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { usersFile } from '../../lib/adapters/auth/usersFile.ts'
import { type Place, place, start } from '../support/commands.ts'
import { patterned } from '../support/memorySource.ts'
import { pathOf, type Running, startCommand } from '../support/processes.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

/** Numbers of packets so far. */
interface PacketCounts {
  readonly carried: number
  readonly lost: number
  readonly duplicated: number
  readonly overtaken: number
}

type End = 'server' | 'client'

/** A bad link between two network namespaces. Everything is removed when it is disposed, or when this process ends. */
interface LossyLink extends AsyncDisposable {
  /** The address of the end where the server runs. */
  readonly host: string
  /** A wrapper that runs a command at that end. */
  under(end: End): readonly string[]
  /** From now on, all packets to this end are lost, or those to both ends. */
  cut(to?: End): Promise<PacketCounts>
  /** From now on, packets arrive again, subject to the usual losses. */
  join(): Promise<PacketCounts>
}

/** Packets are lost and duplicated. Each is delayed by 20 to 40 ms, so packets overtake each other. */
const badness = ['--loss', '0.02', '--duplicate', '0.05', '--delay', '20', '--jitter', '20', '--mtu', '9000']
const host = '10.98.0.1'

async function lossyLink(): Promise<LossyLink> {
  const program = pathOf('spec/support/lossyLink.py')
  // In its own process group, it notices the end of this process by its standard input, even if the whole group is
  // killed.
  const running = startCommand('python3', [program, '--server', host, ...badness], { detached: true })
  // Commands after its end are lost; the missing answer is noticed.
  running.child.stdin?.on('error', () => {})
  const [, server, client] = await running.printed(/^up (\d+) (\d+)\n/mu)
  const spaces = { server, client }
  let answers = 0
  const tell = async (line: string): Promise<PacketCounts> => {
    running.child.stdin?.write(`${line}\n`)
    const [answer = ''] = (await running.printed(new RegExp(`(?:^\\{.*\\}\n){${++answers}}`, 'mu'))) ?? []
    return JSON.parse(answer.trimEnd().split('\n').at(-1) ?? '') as PacketCounts
  }
  return {
    host,
    under: (end) => ['nsenter', `--net=/proc/${running.child.pid}/fd/${spaces[end]}`],
    cut: (to) => tell(`cut ${to ?? ''}`),
    join: () => tell('join'),
    [Symbol.asyncDispose]: () => ended(running),
  }
}

async function ended({ child, ended }: Running): Promise<void> {
  child.stdin?.end()
  await ended
}

/** Whether this process may create such links and run commands at their ends; creates one to find out. */
const canLink: boolean = await (async () => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  try {
    await using link = await lossyLink()
    const [command = '', ...line] = link.under('client')
    const { code } = await startCommand(command, [...line, process.execPath, '--version']).ended
    return code === 0
  } catch {
    return false
  }
})()

const bytes = patterned(1_500_000)
/** The end of a link that is silent for longer than two keep-alive intervals. */
const silent = /link-closed .*code=timed-out/u

interface Ground extends AsyncDisposable {
  readonly at: Place
  readonly data: string
  readonly link: LossyLink
  readonly server: Running
  /** Starts `osp COMMAND …` of a user at the other end. */
  osp(user: 'alice' | 'bob', args: readonly string[], input?: string): Running
}

/** A server at one end of a bad link, and commands at the other end. */
async function ground(): Promise<Ground> {
  const at = await place()
  const data = join(at.path, 'data')
  const tokens = new Map<string, string>()
  for (const user of ['alice', 'bob']) tokens.set(user, await usersFile(data).add(user))
  const link = await lossyLink()
  const flags = ['--port', '0', '--data', data, '--tls', 'auto', '--keep-alive', '600ms']
  const server = start('ospd', ['serve', '--host', link.host, ...flags], { under: link.under('server') })
  const [, port, fingerprint = ''] = await server.printed(/ready on [\d.]+:(\d+) with TLS, fingerprint (\S+),/u)
  const way = ['--server', `${link.host}:${port}`, '--tls', '--fingerprint', fingerprint]
  const programs: Running[] = []
  return {
    at,
    data,
    link,
    server,
    osp(user, [command = '', ...args], input) {
      const flags = [...way, '--user', user, '--state', join(at.path, user)]
      const options = { cwd: at.path, env: { OSP_TOKEN: tokens.get(user) }, under: link.under('client') }
      const program = start('osp', [command, ...flags, ...args], input === undefined ? options : { ...options, input })
      programs.push(program)
      return program
    },
    async [Symbol.asyncDispose]() {
      for (const running of [...programs, server, link, at]) await running[Symbol.asyncDispose]()
    },
  }
}

/** Cuts the link towards one end or both, until the server has given up a client, and then restores it. */
async function cutOff({ link, server }: Ground, to?: End): Promise<void> {
  const { length: told } = server.stderr
  await link.cut(to)
  await turns(() => silent.test(server.stderr.slice(told)))
  await link.join()
}

const endsWell = async (program: Running) => {
  const { code } = await program.ended
  assert.equal(code, 0, program.stderr)
}

/** Bytes of the partial files on the server. */
function partialBytes(data: string): number {
  const folder = join(data, 'partial')
  const size = (name: string) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0
  return readdirSync(folder).reduce((sum, name) => sum + size(name), 0)
}

/** So long that packets of every message are lost. */
const padding = '.'.repeat(50_000)
/** A message that may have been on its way when the link was cut has a mark. */
const textsOf = ({ stdout }: Running) => stdout.match(/(?<= alice (?:\(again\?\) )?)\d+(?=\.)/gu) ?? []

spec(
  'over a link that loses, delays, doubles and reorders packets, and is cut for longer than the keep-alive',
  (it) => {
    if (!canLink) return it.skip('on a lossy link', 'this process may not make network namespaces with TUN devices')

    it('a file arrives once and completely', async () => {
      await using on = await ground()
      const { at, data, link, osp } = on
      await at.write('a', bytes)
      const sending = osp('alice', ['send', 'a', '--json'])
      await turns(() => partialBytes(data) > 0.1 * bytes.length)
      await cutOff(on)
      await turns(() => partialBytes(data) > 0.5 * bytes.length)
      // Later acknowledgements do not arrive.
      await cutOff(on, 'client')
      await endsWell(sending)
      assert.equal(Buffer.compare(readFileSync(join(data, 'files/alice/a')), bytes), 0)
      assert.deepEqual(readdirSync(join(data, 'files/alice')), ['a'])
      assert.deepEqual(readdirSync(join(data, 'partial')), [])
      assert.equal(sending.stdout.match(/"event":"stored"/gu)?.length, 1, sending.stdout)
      assert.equal(on.server.stderr.match(/ upload-stored /gu)?.length, 1, on.server.stderr)
      const { lost, duplicated, overtaken } = await link.join()
      assert.ok(Math.min(lost, duplicated, overtaken) > 0, 'the link was a good one')
    })

    it('messages arrive once and in order', async () => {
      await using on = await ground()
      const send = (text: string) => on.osp('alice', ['msg', 'bob', '-'], text + padding)
      const listening = on.osp('bob', ['listen', '--count', '4'])
      await on.server.printed(/link-open user=bob /u)
      await endsWell(send('0'))
      for (const [text, to] of [['1'], ['2', 'client']] as const) {
        const { length: told } = on.server.stderr
        const sending = send(text)
        // The message is in transit now, to the server or to bob.
        await turns(() => on.server.stderr.includes('link-open user=alice ', told))
        await cutOff(on, to)
        await endsWell(sending)
      }
      await endsWell(send('3'))
      await endsWell(listening)
      assert.deepEqual(textsOf(listening), ['0', '1', '2', '3'])
    })
  },
)

spec('the lossy link of these specs', (it) => {
  if (!canLink) return it.skip('leaves nothing behind', 'this process may not make network namespaces with TUN devices')

  it('leaves nothing behind', async () => {
    const link = await lossyLink()
    const [, space = ''] = /--net=(\S+)/u.exec(link.under('server').join(' ')) ?? []
    assert.ok(statSync(space).isFile())
    await link[Symbol.asyncDispose]()
    assert.equal(statSync(space, { throwIfNoEntry: false }), undefined)
  })
})
