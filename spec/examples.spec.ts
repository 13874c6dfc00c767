import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from '../lib/index.ts'
import { section } from './docs/sections.ts'
import { place } from './support/commands.ts'
import { example } from './support/example.ts'
import { freePort } from './support/freePort.ts'
import { startNode } from './support/processes.ts'
import { root } from './support/source.ts'
import { spec } from './support/spec.ts'

spec('the examples', (it) => {
  it('include a server, and clients that upload a file to it and download it', async () => {
    await using at = await place()
    const bytes = randomBytes(3_000_000)
    await at.write('movie.mp4', bytes)
    await using server = example('serve', at, 0)
    const [, port] = await server.printed(/^listening on port (\d+)$/mu)
    await using client = example('upload', at, Number(port))
    assert.equal((await client.ended).code, 0, client.stderr)
    assert.match(client.stdout, /^3000000 3000000 3000000$/mu)
    assert.match(client.stdout, /storedName: 'movie\.mp4'/u)
    await server.printed(/^alice movie\.mp4 3000000 [\da-f]{64}$/mu)
    assert.deepEqual(readFileSync(join(at.path, 'data/files/alice/movie.mp4')), bytes)
    await using reader = example('download', at, Number(port))
    assert.equal((await reader.ended).code, 0, reader.stderr)
    assert.match(reader.stdout, /^movie\.mp4 3000000$/mu)
    assert.deepEqual(readFileSync(join(at.path, 'movie.mp4.copy')), bytes)
    server.child.kill('SIGTERM')
    assert.equal((await server.ended).code, 0)
  })

  it('include the program of docs/sdk.md', async () => {
    await using at = await place()
    await using program = example('sdk', at, 0)
    assert.equal((await program.ended).code, 0, program.stderr)
    assert.match(program.stdout, /^stored alice inbox\/table\.csv 14 1$/mu)
    assert.match(program.stdout, /^bob handled run 7 ended$/mu)
    assert.equal(program.stdout.match(/^dave maintenance at 18:00$/gmu)?.length, 2)
    assert.match(program.stdout, /^version-changed /mu)
    assert.equal(readFileSync(join(at.path, 'from-alice.csv'), 'utf8'), 'id,name\n1,one\n')
  })

  it('include a server that imports each stored file, even after it was killed', async () => {
    await using at = await place()
    await at.write('movie.mp4', 'one\ntwo\n')
    await using server = example('ingest', at, 0)
    const [, port] = await server.printed(/^listening on port (\d+)$/mu)
    await using client = example('upload', at, Number(port))
    assert.equal((await client.ended).code, 0, client.stderr)
    await server.printed(/^alice inbox\/movie\.mp4 2 lines, attempt 1$/mu)
    server.child.kill('SIGKILL')
    await server.ended
    await using restarted = example('ingest', at, 0)
    await restarted.printed(/^listening on port \d+$/mu)
  })

  it('include a server and a client in one process', async () => {
    await using at = await place()
    await using both = example('together', at, 0)
    assert.equal((await both.ended).code, 0, both.stderr)
    assert.match(both.stdout, /^greeting\.txt [\da-f]{64} /u)
  })

  it('include a server with TLS and tokens, twice in the same folder', async () => {
    await using at = await place()
    for (const replaced of [false, true]) {
      await using both = example('secure', at, 0)
      assert.equal((await both.ended).code, 0, both.stderr)
      assert.match(both.stdout, new RegExp(`storedName: 'greeting\\.txt',\\s+replaced: ${replaced}`, 'u'))
    }
    assert.equal(readFileSync(join(at.path, 'data/files/alice/greeting.txt'), 'utf8'), 'Hello, world!\n')
  })

  it('include a demo in which nothing is lost', async () => {
    await using at = await place()
    await using demo = startNode('examples/demo.mjs', [], { cwd: at.path })
    assert.equal((await demo.ended).code, 0, demo.stdout + demo.stderr)
    assert.match(demo.stdout, /^Of 48\.0 MiB, \d\d\.\d MiB were sent in total: /mu)
    assert.match(demo.stdout, /^Every stored file is identical to the original\.$/mu)
  })

  it('include two users, one of whom is offline when a message is sent', async () => {
    await using at = await place()
    await using server = example('serve', at, 0)
    const [, port] = await server.printed(/^listening on port (\d+)$/mu)
    await using both = example('messages', at, Number(port))
    assert.equal((await both.ended).code, 0, both.stderr)
    assert.match(both.stdout, /recipient: 'bob', status: 'stored'/u)
    assert.match(both.stdout, /^alice hi$/mu)
    assert.match(both.stdout, /^online: \[ 'bob' \]$/mu)
  })

  it('include a program that answers each message once, even after it was killed', async () => {
    await using at = await place()
    await using server = example('serve', at, 0)
    const [, port] = await server.printed(/^listening on port (\d+)$/mu)
    await using alice = await connect(`ospd://127.0.0.1:${port}`, { user: 'alice' })
    const answers = alice.messages()
    for (const [text, answer] of [
      ['add 1 2', '3'],
      ['hello', 'the only command is: add NUMBER...'],
      ['add 4 5', '9'],
    ]) {
      await using bot = example('bot', at, Number(port))
      const sent = alice.send(['bot'], `${text}`)
      await sent.stored
      const { value } = await answers.next()
      assert.deepEqual([value?.from, value?.text(), value?.inReplyTo], ['bot', answer, sent.id])
      await bot.printed(new RegExp(`^alice: ${text} -> `, 'mu'))
      bot.child.kill(answer === '9' ? 'SIGTERM' : 'SIGKILL')
      const { code } = await bot.ended
      if (answer === '9') assert.equal(code, 0, bot.stderr)
    }
  })

  it('include a device that queues messages without a server, and sends each once when a server starts', async () => {
    await using at = await place()
    const port = await freePort()
    await using offline = example('outbox', at, port, 'one', 'two')
    await offline.printed(/^queued [\da-f]{32}\nqueued [\da-f]{32}$/mu)
    offline.child.kill('SIGKILL')
    await offline.ended
    await using server = example('serve', at, port)
    await server.printed(/^listening on port \d+$/mu)
    await using online = example('outbox', at, port, 'three')
    assert.equal((await online.ended).code, 0, online.stderr)
    assert.match(online.stdout, /^queued [\da-f]{32}\nstored [\da-f]{32}$/mu)
    await using alice = await connect(`ospd://127.0.0.1:${port}`, { user: 'alice' })
    const texts: string[] = []
    for await (const message of alice.messages()) if (texts.push(message.text()) === 3) break
    assert.deepEqual(texts, ['one', 'two', 'three'])
  })

  it('say in one line that the server is not reachable, and continue when it is', async () => {
    await using at = await place()
    await at.write('movie.mp4', 'one')
    const port = await freePort()
    const missing = /^cannot connect to 127\.0\.0\.1:\d+: nothing listens there; start the server/mu
    await using upload = example('upload', at, port)
    await using messages = example('messages', at, port)
    await using bot = example('bot', at, port)
    await using outbox = example('outbox', at, port, 'one')
    for (const client of [upload, messages, bot, outbox]) {
      await client.printed(missing)
      assert.doesNotMatch(client.stderr, /^ +at /mu)
    }
    await using _ = example('serve', at, port)
    for (const client of [upload, messages, outbox]) assert.equal((await client.ended).code, 0, client.stderr)
  })

  for (const [page, name] of [
    ['README.md', 'examples/serve.ts'],
    ['README.md', 'examples/upload.ts'],
    ['README.md', 'examples/messages.ts'],
    ['docs/simulation.md', 'examples/ownStorage.ts'],
    ['docs/simulation.md', 'examples/ownTransport.ts'],
    ['docs/simulation.md', 'examples/ownAuthenticator.ts'],
  ] as const) {
    it(`appear in ${page} as they are run (${name})`, async () => {
      const text = readFileSync(join(root, name), 'utf8').replace(/^\/\/.*\n/u, '')
      const printed = `\`\`\`ts\n${text}\`\`\`\n`
      assert.equal(await section(page, name, printed), printed)
    })
  }
})
