import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { place } from '../support/commands.ts'
import { type Running, startNode } from '../support/processes.ts'
import { SeededRandom } from '../support/random.ts'
import { receiptsIn } from '../support/receiptsIn.ts'
import { spec } from '../support/spec.ts'

/** `KILLS` and `FILES` in the environment replace the numbers of a short run. */
const kills = Number(process.env.KILLS ?? 6)
const files = Number(process.env.FILES ?? 20)

/** The longest time between two kills. */
const mostMs = 1_500

spec('files that arrive while server, sender and listen --exec are killed', (it) => {
  it(`are each handled at least once, with one receipt: ${files} files, ${kills} kills`, async () => {
    await using at = await place()
    const dice = new SeededRandom(1)
    const names = Array.from({ length: files }, (_, number) => `file-${number}`)
    for (const name of names) await at.write(`out/${name}`, `${name}\n`.repeat(2_000 * dice.integer(1, 50, 'size')))
    const handling = 'echo "$OSP_FILE" >> handled; sleep 0.02; echo "imported $OSP_FILE"'
    let port = 0
    const osp = ['--server', () => `127.0.0.1:${port}`, '--state', `${at.path}/state`] as const
    const commands: Readonly<Record<string, () => Running>> = {
      server: () =>
        startNode('dist/bin/ospd.js', ['serve', '--port', `${port}`, '--data', 'data', '--notify', 'ingest'], {
          cwd: at.path,
        }),
      sender: () => startOsp('send', '-r', 'out', '--user', 'alice', '--wait', 'handled', '--json'),
      consumer: () => startOsp('listen', '--user', 'ingest', '--exec', 'sh', '--', '-c', handling),
    }
    const senders: Running[] = []
    function startOsp(command: string, ...args: readonly string[]): Running {
      const common = osp.map((part) => (typeof part === 'string' ? part : part()))
      return startNode('dist/bin/osp.js', [command, ...common, ...args], { cwd: at.path })
    }
    const running = new Map<string, Running>()
    const start = async (name: string) => {
      const process = commands[name]?.() as Running
      running.set(name, process)
      if (name === 'sender') senders.push(process)
      if (name !== 'server') return
      const [, found] = await process.printed(/ready on 127\.0\.0\.1:(\d+)/u)
      port = Number(found)
    }
    for (const name of Object.keys(commands)) await start(name)
    for (let kill = 0; kill < kills; kill++) {
      await pause(dice.integer(1, mostMs, 'time'))
      const name = dice.pick(Object.keys(commands), 'process')
      await running.get(name)?.kill()
      await start(name)
    }
    // The sender ends when each file is stored: with 6 if an earlier run had sent one.
    const { code } = (await running.get('sender')?.ended) ?? {}
    assert.ok(code === 0 || code === 6, `the sender exits with ${code}`)
    const handled = () => new Set(readFileSync(`${at.path}/handled`, 'utf8').trim().split('\n'))
    while (names.some((name) => !handled().has(`out/${name}`))) await pause(100)
    // The receipts that the killed senders did not remove are still on the server.
    const rest = startOsp('listen', '--user', 'alice', '--receipts', '--json')
    const receipts = () => receiptsIn([...senders, rest])
    while (receipts().size < files) await pause(100)
    await rest[Symbol.asyncDispose]()
    for (const [result, found] of receipts()) assert.equal(found.size, 1, `${result}: ${[...found].join(', ')}`)
    assert.deepEqual(new Set(receipts().keys()), new Set(names.map((name) => `imported out/${name}`)))
    for (const process of running.values()) await process[Symbol.asyncDispose]()
    const lines = readFileSync(`${at.path}/handled`, 'utf8').trim().split('\n')
    if (process.env.KILLS) process.stdout.write(`${lines.length} calls for ${files} files after ${kills} kills\n`)
  })
})
