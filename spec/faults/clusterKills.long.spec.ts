import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { initialized, type Shared } from '../cli/sharedCluster.ts'
import { type Place, place, start } from '../support/commands.ts'
import { canFreeze, freeze, thaw } from '../support/frozen.ts'
import { ownPostgres, type PostgresServer, postgresMissing } from '../support/postgresServer.ts'
import type { Running } from '../support/processes.ts'
import { SeededRandom } from '../support/random.ts'
import { receiptsIn } from '../support/receiptsIn.ts'
import { startSource } from '../support/sources.ts'
import { spec } from '../support/spec.ts'
import { tcpBalancer } from '../support/tcpBalancer.ts'

/** `KILLS`, `FILES` and `SEED` in the environment replace the numbers of a short run. */
const kills = Number(process.env.KILLS ?? 8)
const files = Number(process.env.FILES ?? 20)
const seed = Number(process.env.SEED ?? 1)

/** The longest time between two faults. */
const mostMs = 1_500
const servers = ['one', 'two', 'three']

/** Records each message that is stored in a mailbox. */
const recording = `
  CREATE TABLE public.posted (box text, id uuid);
  CREATE FUNCTION public.record_posted() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO public.posted SELECT name, NEW.id FROM ospd.box WHERE id = NEW.box; RETURN NULL; END $$;
  CREATE TRIGGER posted AFTER INSERT ON ospd.mail FOR EACH ROW EXECUTE FUNCTION public.record_posted();`

/** How the servers run, and which programs handle the files in addition to `osp listen --exec`. */
interface Kind {
  readonly startServer: (shared: Shared, at: Place, name: string) => Running
  readonly handlers: readonly {
    readonly box: string
    readonly log: string
    readonly result: (name: string) => string
  }[]
}

const ingest = { box: 'ingest', log: 'handled', result: (name: string) => `imported ${name}` }

const kinds: Readonly<Record<string, Kind>> = {
  'ospd serve': {
    startServer: (shared, _, name) => {
      const flags = ['--files', shared.files, '--notify', 'ingest', '--keep-alive', '2s']
      const env = { OSPD_CLUSTER: shared.url }
      return start('ospd', ['serve', '--port', '0', '--data', `${shared.path}/${name}`, ...flags], { env })
    },
    handlers: [ingest],
  },
  'programs with onStored': {
    startServer: (shared, at) =>
      startSource('spec/support/handlingServer.ts', [shared.url, shared.files, `${at.path}/loaded`]),
    handlers: [ingest, { box: ':stored', log: 'loaded', result: (name) => `loaded ${name}` }],
  },
}

/** The processes of a case. */
class Started implements AsyncDisposable {
  readonly all: Running[] = []

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.all) await running.kill()
  }
}

async function survives(postgres: PostgresServer, { startServer, handlers }: Kind): Promise<void> {
  await using shared = await initialized(postgres.url())
  await shared.sql(recording)
  await using at = await place()
  await using balancer = await tcpBalancer()
  const dice = new SeededRandom(seed)
  const names = Array.from({ length: files }, (_, number) => `out/file-${number}`)
  for (const name of names) await at.write(name, `${name}\n`.repeat(2_000 * dice.integer(1, 50, 'size')))
  const handling = 'echo "$OSP_FILE" >> handled; sleep 0.02; echo "imported $OSP_FILE"'
  const osp = (command: string, ...args: string[]) => {
    const common = ['--server', `127.0.0.1:${balancer.port}`, '--state', `${at.path}/state`]
    return start('osp', [command, ...common, ...args], { cwd: at.path })
  }
  const clients: Readonly<Record<string, () => Running>> = {
    sender: () => osp('send', '-r', 'out', '--user', 'alice', '--wait', 'handled', '--json'),
    consumer: () => osp('listen', '--user', 'ingest', '--exec', 'sh', '--', '-c', handling),
  }
  await using started = new Started()
  const processes = new Map<string, Running>()
  const senders: Running[] = []
  const begin = async (name: string) => {
    const process = clients[name]?.() ?? startServer(shared, at, name)
    started.all.push(process)
    processes.set(name, process)
    if (name === 'sender') senders.push(process)
    if (name in clients) return
    const [, port] = await process.printed(/ready on 127\.0\.0\.1:(\d+)/u)
    balancer.set(name, Number(port))
  }
  for (const name of [...servers, ...Object.keys(clients)]) await begin(name)
  const killed = async (name: string) => {
    await processes.get(name)?.kill()
    await begin(name)
  }
  /** Stops a server until the others have declared it dead. */
  const stopped = async (name: string) => {
    const server = processes.get(name) as Running
    await server.printed(/cluster-entered/u)
    const number = /.*cluster-entered \D*(\d+)/su.exec(server.stderr)?.[1]
    await freeze(server)
    while (!(await shared.sql(`SELECT FROM ospd.server WHERE id = ${number} AND dead`).catch(() => []))[0])
      await pause(100)
    thaw(server)
    await server.printed(RegExp(`cluster-lease-lost \\D*${number}\\D`, 'u'))
  }
  let frozen = { name: '', ended: Promise.resolve() }
  for (let kill = 0; kill < kills; kill++) {
    await pause(dice.integer(1, mostMs, 'time'))
    if (kill % 8 === 1) {
      await frozen.ended
      const name = dice.pick(servers, 'frozen server')
      frozen = { name, ended: stopped(name) }
    }
    const name = dice.pick([...servers, ...Object.keys(clients), 'database'], 'fault')
    if (name === 'database') await postgres.crash()
    else if (name !== frozen.name) await killed(name)
  }
  await frozen.ended
  // The sender ends when each file is stored: with 6 if an earlier run had sent one.
  const { code } = (await processes.get('sender')?.ended) ?? {}
  assert.ok(code === 0 || code === 6, `the sender exits with ${code}`)
  const lines = (log: string) => readFileSync(`${at.path}/${log}`, 'utf8').trim().split('\n')
  for (const { log } of handlers) while (names.some((name) => !lines(log).includes(name))) await pause(100)
  // The receipts that the killed senders did not remove are still on the server.
  await using rest = osp('listen', '--user', 'alice', '--receipts', '--json')
  const receipts = () => receiptsIn([...senders, rest])
  while (receipts().size < files * handlers.length) await pause(100)
  await rest[Symbol.asyncDispose]()
  for (const [result, found] of receipts()) assert.equal(found.size, 1, `${result}: ${[...found].join(', ')}`)
  const results = handlers.flatMap(({ result }) => names.map(result))
  assert.deepEqual([...receipts().keys()].toSorted(), results.toSorted())
  const posted = await shared.sql<{ box: string; messages: number; ids: number }>(
    'SELECT box, count(*)::int AS messages, count(DISTINCT id)::int AS ids FROM public.posted GROUP BY box',
  )
  const expected = new Map(handlers.map(({ box }) => [box, files]))
  expected.set(':receipts:alice', files * handlers.length)
  assert.deepEqual(new Map(posted.map(({ box, messages }) => [box, messages])), expected)
  assert.deepEqual(new Map(posted.map(({ box, ids }) => [box, ids])), expected)
  if (process.env.KILLS)
    for (const { log } of handlers) process.stdout.write(`${log}: ${lines(log).length} calls for ${files} files\n`)
}

spec(
  'files that arrive while the servers of a cluster, its database, the sender and listen --exec are killed',
  (it) => {
    const missing = postgresMissing ?? (canFreeze ? undefined : 'only Linux shows whether a process is frozen')
    for (const [name, kind] of Object.entries(kinds)) {
      const title = `have one message and one receipt for each that handles them: ${name}, ${files} files, ${kills} kills`
      if (missing !== undefined) it.skip(title, missing)
      else
        it(title, async () => {
          await using postgres = await ownPostgres()
          await survives(postgres, kind)
        })
    }
  },
)
