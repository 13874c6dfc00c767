import {
  type ClusterChange,
  type ClusterCheck,
  checkCluster,
  clusterServers,
  createCluster,
  migrateCluster,
  type ServerState,
} from 'ospd/postgres'
import { results, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import { jsonSetting, kind, optionalSetting, type Values } from '../common/settings.ts'
import { printable, tableLines } from '../common/text.ts'
import { formatTime } from '../common/units.ts'
import { exitCodes, UsageError, unexpectedOperand, unknownName } from '../common/usage.ts'
import { importServer } from './import.ts'
import { databaseUrl } from './location.ts'

const settings = {
  cluster: optionalSetting(
    databaseUrl,
    'database of the cluster; required. Use OSPD_CLUSTER to keep a password out of the process list',
  ),
  files: optionalSetting(kind.path, 'shared directory for the content of files; required by init, check and import'),
  data: optionalSetting(kind.path, 'with import: data directory of the stopped server'),
  json: jsonSetting,
} as const

type ClusterValues = Values<typeof settings>

type Flags = Readonly<Record<string, unknown>>

interface Verb {
  readonly needsFiles?: true
  readonly needsData?: true
  run(database: string, files: string, data: string): Promise<number>
}

const verbs: Readonly<Record<string, Verb>> = {
  init: {
    needsFiles: true,
    run: init,
  },
  check: { needsFiles: true, run: check },
  import: { needsFiles: true, needsData: true, run: importServer },
  migrate: { run: migrate },
  status: { run: status },
}

/** `ospd cluster`: manages the database and the directory that the servers of a cluster share. */
export const clusterCommand = command({
  name: 'cluster',
  operands: Object.keys(verbs).join('|'),
  describe:
    'Initialize, test and upgrade the database and the directory that several servers share, list the servers, and import the data of a single server.',
  settings,
  examples: [
    ['export OSPD_CLUSTER=postgres://ospd@db/ospd', 'set the database for all commands'],
    ['ospd cluster init --files /mnt/ospd', 'create the schema and the directory'],
    ['ospd cluster check --files /mnt/ospd', 'test the database and the directory'],
    ['ospd cluster import --files /mnt/ospd --data old', 'copy the data of a stopped server'],
    ['ospd cluster status', 'list the running servers'],
  ],
  onlyLists: ([verb]) => verb === 'status',
  run,
})

async function run(
  { cluster, files, data }: ClusterValues,
  [name, more]: readonly string[],
  flags: Flags,
): Promise<number> {
  const names = Object.keys(verbs)
  if (name === undefined) throw new UsageError(`specify a verb: ${names.join(', ')}`)
  const verb = verbs[name]
  if (!verb) throw new UsageError(unknownName('verb', name, names))
  if (more !== undefined) throw unexpectedOperand(`cluster ${name}`, more)
  if (cluster === undefined) throw new UsageError(`cluster ${name} requires --cluster, the URL of the database`)
  if (verb.needsFiles && files === undefined) {
    throw new UsageError(`cluster ${name} requires --files, the directory that all servers share`)
  }
  if (verb.needsData && data === undefined) {
    throw new UsageError(`cluster ${name} requires --data, the data directory of the stopped server`)
  }
  if (!verb.needsData && flags.data !== undefined) throw new UsageError(`cluster ${name} does not take --data`)
  return await verb.run(cluster, files ?? '', data ?? '')
}

async function init(database: string, files: string): Promise<number> {
  const { isNewDirectory: newDirectory, ...change } = await createCluster({ database, files })
  const directory = `the directory ${printable(files)} ${newDirectory ? 'is now' : 'was already'} initialized`
  await results.printed({ event: 'created', ...change, newDirectory }, `${schemaLine(change)}\n${directory}`)
  return exitCodes.done
}

async function migrate(database: string): Promise<number> {
  const change = await migrateCluster(database)
  await results.printed({ event: 'migrated', ...change }, schemaLine(change))
  return exitCodes.done
}

function schemaLine({ from, to }: ClusterChange): string {
  return from === to ? `the schema already has version ${to}` : `the schema now has version ${to} (before: ${from})`
}

async function check(database: string, files: string): Promise<number> {
  const checks = await checkCluster({ database, files })
  const lines = tableLines(
    checks.map(({ condition, holds, required, tested, detail }) => [
      resultOf({ holds, required, tested }),
      condition,
      printable(detail ?? ''),
    ]),
  )
  for (const [at, each] of checks.entries()) await results.printed({ event: 'check', ...each }, lines[at] ?? '')
  return checks.every(({ holds, required }) => holds || !required) ? exitCodes.done : exitCodes.failed
}

function resultOf({ holds, required, tested }: Pick<ClusterCheck, 'holds' | 'required' | 'tested'>): string {
  if (!tested) return 'not tested'
  if (holds) return 'ok'
  return required ? 'FAILED' : 'not met, but not required'
}

async function status(database: string): Promise<number> {
  const servers = (await clusterServers(database)).filter(({ isDead }) => !isDead)
  const lines = tableLines(servers.map(rowOf))
  for (const [at, server] of servers.entries()) {
    const { server: number, name, address, leaseMs, startedAt, version } = server
    const started = new Date(startedAt).toISOString()
    const fields = { number, name, address, leaseMs: Math.round(leaseMs), started, schema: Number(version) }
    await results.printed({ event: 'server', ...fields }, lines[at] ?? '')
  }
  if (servers.length === 0) sayEmpty('no server of this cluster is running', { program: 'ospd' })
  return exitCodes.done
}

function rowOf({ server, name, address, leaseMs, startedAt, version }: ServerState): string[] {
  const lease = leaseMs > 0 ? `lease expires in ${formatTime(leaseMs)}` : 'lease expired'
  const up = `up for ${formatTime(Date.now() - startedAt)}`
  return [`${server}`, printable(name), printable(address), lease, up, `schema ${printable(version)}`]
}
