/**
 * `npm run bench`: the commands and the library beside the best plain pipe of Node. With `--peers DIRECTORY` also beside rsync,
 * tus, Mosquitto, Redis and NATS, where they are installed; DIRECTORY has the npm packages of the peers in its node_modules.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Contender, contest, type Summary } from './contest.ts'
import {
  type Broker,
  type Measure,
  messageContender,
  mosquitto,
  nats,
  ospdBroker,
  plainLog,
  redis,
} from './messageContest.ts'
import { type Load, loads, UploadField } from './uploadContest.ts'

// With this variable, Node reads certificates at the start of each process, which takes 30 ms.
delete process.env.NODE_EXTRA_CA_CERTS

const { values: options } = parseArgs({
  options: {
    peers: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '.' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (options.help) {
  console.log(`npm run bench -- [--peers DIRECTORY] [--rounds N] [--only REGEX] [--json FILE]

  --peers DIRECTORY  measure rsync, tus, Mosquitto, Redis and NATS too. Install their npm packages there with:
                     npm install --prefix DIRECTORY @tus/server @tus/file-store tus-js-client mqtt redis \\
                       @nats-io/transport-node @nats-io/jetstream
  --rounds N         rounds of each contest (default: 5)
  --only REGEX       run only the contests with a matching name
  --json FILE        write all figures as JSON`)
  process.exit()
}

const packages = options.peers === undefined ? undefined : resolve(options.peers)
const rounds = Number(options.rounds)
const only = new RegExp(options.only, 'u')
const base = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ospd-bench-'))
const onDisk = mkdtempSync(join(tmpdir(), 'ospd-bench-'))

const isCommand = (name: string) => packages !== undefined && spawnSync(name, ['--version']).error === undefined
const isPackage = (name: string) => {
  try {
    return packages !== undefined && createRequire(join(packages, 'package.json')).resolve(name) !== ''
  } catch {
    return false
  }
}

interface Contest {
  readonly name: string
  readonly unit: string
  readonly results: readonly Summary[]
}

const contests: Contest[] = []

/** Names of contenders that goals refer to. */
const names = {
  pipe: 'plain node:net pipe, 1 MiB',
  xxh128: 'osp send --digest xxh128',
  sha256: 'osp send (sha256)',
  getXxh128: 'osp get (xxh128)',
  getSha256: 'osp get (sha256)',
  transfer: 'SDK, xxh128, transfer alone',
  tls: 'osp send (sha256) over TLS',
  pipeXxh128: 'plain pipe, xxh128, flushed',
  pipeSha256: 'plain pipe, sha256, flushed',
  pipeTls: 'plain pipe, sha256, flushed, TLS',
  files: 'plain program for files, xxh128',
} as const

/** The small files in the directory for temporary files, where a flush waits for the disk, unlike in /dev/shm. */
const tinyOnDisk = `${loads.tiny.name}, on disk`

async function uploads(name: string, load: Load, directory = base): Promise<void> {
  if (!only.test(name)) return
  await using field = new UploadField(join(directory, 'uploads'), packages)
  const paths = field.make(load)
  const server = await field.ospd()
  const contenders: Contender[] = []
  if (load !== loads.tiny) contenders.push(await field.pipe(names.pipe, 'plain', load, paths))
  if (load === loads.small || load === loads.tiny) contenders.push(await field.plainFiles(names.files, load))
  if (isCommand('rsync')) {
    if (load !== loads.tiny) contenders.push(await field.rsync(load, paths, ['-aW']))
    if (load !== loads.five) contenders.push(await field.rsync(load, paths, ['-aW', '--fsync']))
  }
  if (isPackage('@tus/server') && load !== loads.tiny) {
    contenders.push(await field.tus(load, paths, load.count === 200 ? 8 : load.atOnce))
  }
  const xxh128 = field.send(names.xxh128, load, paths, server, ['--digest', 'xxh128'])
  const sha256 = field.send(names.sha256, load, paths, server, [])
  contenders.push(xxh128, sha256)
  if (load !== loads.tiny) contenders.push(field.transfer(names.transfer, load, paths, server, 'xxh128'))
  if (load === loads.one) {
    contenders.push(field.get(names.getXxh128, load, paths, server, xxh128))
    contenders.push(field.get(names.getSha256, load, paths, server, sha256))
    contenders.push(field.send(names.tls, load, paths, await field.ospd(true), []))
    contenders.push(await field.pipe(names.pipeXxh128, 'xxh128', load, paths))
    contenders.push(await field.pipe(names.pipeSha256, 'sha256', load, paths))
    contenders.push(await field.pipe(names.pipeTls, 'sha256-tls', load, paths))
  }
  await run(name, load.unit, contenders)
}

async function messages(name: string, unit: string, measure: Measure): Promise<void> {
  if (!only.test(name)) return
  const brokers: Broker[] = [ospdBroker(28_895), plainLog(25_003)]
  if (isCommand('mosquitto') && isPackage('mqtt')) brokers.push(mosquitto(21_883, packages ?? ''))
  if (isCommand('redis-server') && isPackage('redis')) brokers.push(redis(26_380, packages ?? ''))
  if (isCommand('nats-server') && isPackage('@nats-io/jetstream')) brokers.push(nats(24_222, packages ?? ''))
  const contenders = brokers.map((broker) => messageContender(broker, onDisk, measure))
  await run(name, unit, contenders)
}

async function starting(): Promise<void> {
  const name = 'osp --version'
  if (!only.test(name)) return
  const timed = (args: readonly string[]) => async () => {
    const began = performance.now()
    spawnSync(process.execPath, args)
    return { value: performance.now() - began }
  }
  await run(name, 'ms', [
    { name: 'node -e 0', run: timed(['-e', '0']) },
    { name: 'osp --version', run: timed([join(import.meta.dirname, '../../dist/bin/osp.js'), '--version']) },
  ])
}

async function run(name: string, unit: string, contenders: readonly Contender[]): Promise<void> {
  const results = await contest(contenders, rounds)
  contests.push({ name, unit, results })
  console.log(`\n${name}: ${unit}, median of ${rounds} rounds (lowest to highest); CPU seconds of client / server`)
  for (const { name: contender, median, min, max, clientCpuS, serverCpuS } of results) {
    const figure = (value: number) => (value < 10 ? value.toFixed(2) : Math.round(value).toLocaleString('en'))
    const cpu = serverCpuS === undefined ? '' : `  ${clientCpuS?.toFixed(2)} / ${serverCpuS.toFixed(2)}`
    const spread = `(${figure(min)} to ${figure(max)})`
    console.log(`${contender.padEnd(36)} ${figure(median).padStart(9)} ${spread.padEnd(22)}${cpu}`)
  }
}

/**
 * A goal: the least ratio of `ours` to `theirs` in one contest. `beside`: relative to the same ratio of two other contenders.
 * `most`: the goal is the highest ratio instead of the least.
 */
interface Goal {
  readonly contest: string
  readonly ours: string
  readonly theirs: string
  readonly beside?: readonly [string, string]
  readonly must: number
  readonly wanted?: number
  readonly most?: boolean
  readonly value?: 'median' | 'clientCpuS' | 'serverCpuS'
}

const rsync = 'rsync -aW'
const rsyncFsync = 'rsync -aW --fsync'
const redisName = 'Redis Streams, appendfsync always'

const goals: readonly Goal[] = [
  { contest: '1 x 1 GiB', ours: names.xxh128, theirs: rsync, must: 0.7, wanted: 1 },
  { contest: '1 x 1 GiB', ours: names.transfer, theirs: names.pipe, must: 1 },
  { contest: '1 x 1 GiB', ours: names.transfer, theirs: names.pipeXxh128, must: 0.85, wanted: 1 },
  { contest: '1 x 1 GiB', ours: names.sha256, theirs: rsync, must: 0.45, wanted: 0.6 },
  { contest: '1 x 1 GiB', ours: names.sha256, theirs: 'tus, 1 at once', must: 1 },
  { contest: '1 x 1 GiB', ours: names.tls, theirs: names.sha256, must: 0.85 },
  { contest: '1 x 1 GiB', ours: names.getXxh128, theirs: names.xxh128, must: 0.9 },
  { contest: '1 x 1 GiB', ours: names.getSha256, theirs: names.sha256, must: 0.9 },
  {
    contest: '1 x 1 GiB',
    ours: names.tls,
    theirs: names.sha256,
    beside: [names.pipeTls, names.pipeSha256],
    must: 0.85,
    wanted: 1,
  },
  {
    contest: '1 x 1 GiB',
    ours: names.xxh128,
    theirs: names.pipe,
    must: 1.5,
    wanted: 1.25,
    most: true,
    value: 'clientCpuS',
  },
  {
    contest: '1 x 1 GiB',
    ours: names.xxh128,
    theirs: names.pipe,
    must: 1.25,
    wanted: 1,
    most: true,
    value: 'serverCpuS',
  },
  { contest: '5 x 200 MiB', ours: names.xxh128, theirs: rsync, must: 0.7, wanted: 1 },
  { contest: '200 x 1 MiB', ours: names.xxh128, theirs: rsyncFsync, must: 0.55, wanted: 0.9 },
  // The figure of tus is the transfer alone, without the start of a process.
  { contest: '200 x 1 MiB', ours: names.transfer, theirs: 'tus, 8 at once', must: 3.5 },
  { contest: '200 x 1 MiB', ours: names.xxh128, theirs: 'tus, 8 at once', must: 0, wanted: 3.5 },
  { contest: '10,000 x 1 KiB', ours: names.xxh128, theirs: rsyncFsync, must: 0.5, wanted: 1 },
  { contest: tinyOnDisk, ours: names.xxh128, theirs: rsyncFsync, must: 0.5, wanted: 1 },
  { contest: 'messages, 1:1', ours: 'ospd', theirs: 'mosquitto QoS 1', must: 0.8 },
  { contest: 'messages, 1:1', ours: 'ospd', theirs: redisName, must: 0, wanted: 1 },
  { contest: 'messages, 1:16', ours: 'ospd', theirs: 'mosquitto QoS 1', must: 0.6 },
  { contest: 'messages, 1:16', ours: 'ospd', theirs: redisName, must: 0, wanted: 0.7 },
  { contest: 'message alone', ours: 'ospd', theirs: redisName, must: 2, wanted: 1.2, most: true },
  { contest: 'osp --version', ours: 'osp --version', theirs: 'node -e 0', must: 3.75, wanted: 2.5, most: true },
]

/** Prints the goals whose contests have run. */
function judge(): void {
  const rows = goals.flatMap((goal) => {
    const ratio = ratioOf(goal)
    return ratio === undefined ? [] : [lineOf(goal, ratio)]
  })
  if (rows.length > 0) console.log(`\nGoals\n${rows.join('\n')}`)
}

function ratioOf({ contest: name, ours, theirs, beside, value = 'median' }: Goal): number | undefined {
  const results = contests.find((entry) => entry.name === name)?.results
  const of = (contender: string) => results?.find((summary) => summary.name === contender)?.[value]
  const ratio = (own?: number, other?: number) => (own === undefined || !other ? undefined : own / other)
  const ratioOurs = ratio(of(ours), of(theirs))
  return beside ? ratio(ratioOurs, ratio(of(beside[0]), of(beside[1]))) : ratioOurs
}

function lineOf(goal: Goal, ratio: number): string {
  const { contest: name, ours, theirs, beside, must, wanted = must, most = false, value = 'median' } = goal
  const reached = (bound: number) => (most ? ratio <= bound : ratio >= bound)
  const verdict = reached(wanted) ? 'wanted' : reached(must) ? 'must' : 'MISSED'
  const what = { median: '', clientCpuS: ', CPU of the client', serverCpuS: ', CPU of the server' }[value]
  const others = beside ? `, beside ${beside.join(' to ')}` : ''
  const bounds = `${most ? 'at most' : 'at least'} ${must}, wanted ${wanted}`
  return `${verdict.padEnd(6)} ${name}: ${ours} to ${theirs}${others}${what}: ${ratio.toFixed(2)} (${bounds})`
}

try {
  mkdirSync(join(base, 'uploads'), { recursive: true })
  for (const load of Object.values(loads)) await uploads(load.name, load)
  await uploads(tinyOnDisk, loads.tiny, onDisk)
  await messages('message alone', 'ms, p50', 'ackMs')
  await messages('message alone, p99', 'ms', 'ackP99Ms')
  await messages('messages, 1:1', 'messages/s', 'oneToOne')
  await messages('messages, 1:16', 'deliveries/s', 'oneToMany')
  await starting()
  judge()
  const machine = { cpus: cpus().length, model: cpus()[0]?.model, node: process.version }
  if (options.json) writeFileSync(options.json, `${JSON.stringify({ machine, rounds, contests }, undefined, 2)}\n`)
} finally {
  for (const directory of [base, onDisk]) rmSync(directory, { recursive: true, force: true })
}
