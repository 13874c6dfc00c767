import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Place, place, run, start } from '../support/commands.ts'
import { canLink, type End, type LossyLink, lossyLink } from '../support/lossyLink.ts'
import { patterned } from '../support/memorySource.ts'
import type { Running } from '../support/processes.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

const bytes = patterned(1_500_000)
/** How a link ends that is silent for longer than two keep-alives. */
const silent = /link-closed .*code=timed-out/gu
const users = ['alice', 'bob'] as const

interface Ground extends AsyncDisposable {
  readonly at: Place
  readonly data: string
  readonly link: LossyLink
  readonly server: Running
  /** Starts `osp COMMAND …` of a user at the other end. */
  osp(user: (typeof users)[number], args: readonly string[], input?: string): Running
}

/** A server at one end of a bad link, and commands at the other end. */
async function ground(): Promise<Ground> {
  const at = await place()
  const data = join(at.path, 'data')
  const tokens = new Map<string, string>()
  for (const user of users) tokens.set(user, (await run('ospd', ['user', 'add', user, '--data', data])).stdout.trim())
  const link = await lossyLink()
  const flags = ['--port', '0', '--data', data, '--tls', 'auto', '--keep-alive', '600ms']
  const server = start('ospd', ['serve', '--host', link.host, ...flags], { under: link.under('server') })
  const [, port] = await server.printed(/ready on [\d.]+:(\d+)/u)
  const way = ['--server', `${link.host}:${port}`, '--tls']
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

/** Cuts the link until the server has given up so many links of those at the other end, and then joins it again. */
async function cutOff({ link, server }: Ground, links: number, to?: End): Promise<void> {
  const { length: told } = server.stderr
  await link.cut(to)
  await turns(() => (server.stderr.slice(told).match(silent)?.length ?? 0) >= links)
  await link.join()
}

const endsWell = async (program: Running) => {
  const { code } = await program.ended
  assert.equal(code, 0, program.stderr)
}

/** Bytes of the files that the server has in part. */
function partialBytes(data: string): number {
  const folder = join(data, 'partial')
  const size = (name: string) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0
  return readdirSync(folder).reduce((sum, name) => sum + size(name), 0)
}

const sends = (parts: readonly number[], to?: End) => async () => {
  await using on = await ground()
  const { at, data, link, osp } = on
  await at.write('a', bytes)
  const sending = osp('alice', ['send', 'a', '--json'])
  for (const part of parts) {
    await turns(() => partialBytes(data) > part * bytes.length)
    await cutOff(on, 1, to)
  }
  await endsWell(sending)
  assert.equal(Buffer.compare(readFileSync(join(data, 'files/alice/a')), bytes), 0)
  assert.deepEqual(readdirSync(join(data, 'files/alice')), ['a'])
  assert.deepEqual(readdirSync(join(data, 'partial')), [])
  assert.equal(sending.stdout.match(/"event":"stored"/gu)?.length, 1, sending.stdout)
  assert.equal(on.server.stderr.match(/ upload-stored /gu)?.length, 1, on.server.stderr)
  const { lost, duplicated, overtaken } = await link.join()
  assert.ok(Math.min(lost, duplicated, overtaken) > 0, 'the link was a good one')
}

/** Many packets long, so that some are lost of every message. */
const padding = '.'.repeat(50_000)
const textsOf = ({ stdout }: Running) => stdout.match(/(?<= alice )\d+(?=\.)/gu) ?? []

const relays = (to?: End) => async () => {
  await using on = await ground()
  const send = (text: string) => on.osp('alice', ['msg', 'bob', '-'], text + padding)
  const listening = on.osp('bob', ['listen', '--count', '4'])
  await on.server.printed(/link-open user=bob /u)
  await endsWell(send('0'))
  await endsWell(send('1'))
  // One is on its way as the link is cut, to the server or to bob: it comes once all the same.
  const { length: told } = on.server.stderr
  const cut = send('2')
  await turns(() => on.server.stderr.includes('link-open user=alice ', told))
  await cutOff(on, 1, to)
  await endsWell(cut)
  await endsWell(send('3'))
  await endsWell(listening)
  assert.deepEqual(textsOf(listening), ['0', '1', '2', '3'])
}

spec('over a link that loses, delays, doubles and reorders packets', (it) => {
  if (!canLink) return it.skip('everything comes once', 'this process may not make network namespaces with TUN devices')

  const limits = { limitMs: 60_000 }
  it('and is cut for longer than the keep-alive allows, a file comes once and whole', sends([0.1, 0.5]), limits)
  it('and is cut towards its sender only, a file comes once and whole', sends([0.3], 'client'), limits)
  it('and is cut, messages come once and in order', relays(), limits)
  it('and is cut towards its users only, messages come once and in order', relays('client'), limits)

  it('nothing of it is left behind', async () => {
    const link = await lossyLink()
    const [, space = ''] = /--net=(\S+)/u.exec(link.under('server').join(' ')) ?? []
    assert.ok(statSync(space).isFile())
    await link[Symbol.asyncDispose]()
    assert.equal(statSync(space, { throwIfNoEntry: false }), undefined)
  })
})
