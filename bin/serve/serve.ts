import { hostname } from 'node:os'
import {
  type Authenticator,
  defaultLimits,
  type Limits,
  type Log,
  type LogEntry,
  OspError,
  type Server,
  serve,
} from 'ospd'
import { disk, type HealthServer, lockDirectory, Readiness, serveHealth, usersFile } from 'ospd/node'
import { postgresCluster, withClusterUsers } from 'ospd/postgres'
import { descriptorLimit, watchDescriptors, withinDescriptors } from '../common/descriptors.ts'
import { checkDirectory } from '../common/files.ts'
import { errorLine, readerMs, results, stderr, within } from '../common/output.ts'
import { command } from '../common/program.ts'
import { addressText } from '../common/settings.ts'
import { printable, stylesFor } from '../common/text.ts'
import { exitCodes, UsageError } from '../common/usage.ts'
import { openControl } from './control.ts'
import { checkExposure, identityOf, withoutUsers } from './identity.ts'
import { type DaemonTransport, daemonTransport } from './listening.ts'
import { formatLogEntry, userChangeLogger } from './log.ts'
import { drainMsOf, limitsOf, type ServeValues, serveSettings } from './settings.ts'
import { type Stopping, stopOnSignals } from './stopping.ts'

/** `ospd serve`: the daemon. */
export const serveCommand = command({
  name: 'serve',
  describe: 'Run the daemon, which receives and stores files and messages, until SIGTERM or Ctrl-C.',
  settings: serveSettings,
  examples: [
    ['ospd serve', 'listen on port 6682 of this machine, and store data in ./ospd-data'],
    ['ospd serve --port 0 --data /srv/ospd --json', 'listen on a free port; the first line contains it'],
    ['ospd serve --tls auto', 'use TLS; the first line contains the fingerprint for clients'],
  ],
  run,
})

async function run(values: ServeValues): Promise<number> {
  const { host, port, data } = values
  checkCluster(values)
  checkDirectory('--data', data, 'make')
  const log = logger(values)
  const stop = stopOnSignals(log, drainMsOf(values))
  const started = { done: false }
  const readiness = readinessOf(started, stop)
  await using health = await openHealth(values, readiness, log).catch(cannotListen)
  if (values.health && !health) return exitCodes.failed
  let listening: DaemonTransport | undefined
  process.on('SIGHUP', () => {
    log({ level: 'info', event: 'reloading', signal: 'SIGHUP' })
    listening?.reload()
  })
  listening = await daemonTransport(values, log)
  // Without a cluster, the storage locks the directory.
  await using _data = values.cluster === undefined ? undefined : await lockDirectory(data)
  const limits = fittingLimits(values, log)
  const opened = await open(values, limits, listening, readiness, log)
  if (!opened) return exitCodes.failed
  const { server, problem } = opened
  using _descriptors = watchDescriptors(log)
  const fingerprintNow = () => listening.fingerprint
  const control = await openControl(data, server, { limits, fingerprint: fingerprintNow, problem, log })
  const address = server.addresses[0] ?? { host, port }
  const { fingerprint } = listening
  const secured = fingerprint === undefined ? '' : ` with TLS, fingerprint ${fingerprint}`
  const line = `ospd ready on ${addressText(address)}${secured}, data in ${printable(data)}`
  results.print({ event: 'ready', host: address.host, port: address.port, data, fingerprint }, line)
  started.done = true
  await Promise.race([whenDue(stop), server.closed])
  try {
    // Frees the control socket before another daemon can lock the data directory.
    await control.close()
  } finally {
    await server.close()
  }
  log({ level: 'info', event: 'stopped' })
  // The reader of stdout may never read the first line.
  if (!(await within(readerMs, results.drained()))) {
    await within(readerMs, stderr.drained())
    process.exit(exitCodes.done)
  }
  return exitCodes.done
}

/** Throws UsageError if the flags of a cluster cannot be combined. */
function checkCluster({ cluster, files, tls }: ServeValues): void {
  if (cluster === undefined && files !== undefined) throw new UsageError('--files requires --cluster; specify both')
  if (cluster === undefined) return
  if (files === undefined) throw new UsageError('--cluster requires --files, the directory that all servers share')
  if (tls !== undefined) {
    const reason = 'each server would have its own key, and clients trust only the key that they know'
    throw new UsageError(
      `--tls auto cannot be used with --cluster: ${reason}; specify the same --tls-cert for all servers`,
    )
  }
}

/**
 * Prints the reason why the daemon cannot listen. A retry does not help, so the exit code is not that of an unreachable server.
 */
function cannotListen(error: unknown): undefined {
  if (!(error instanceof OspError) || error.code !== 'unreachable') throw error
  errorLine(`ospd: ${printable(error.message)}`)
}

/** Returns the readiness checks of the daemon. */
function readinessOf(started: { readonly done: boolean }, stop: Stopping): Readiness {
  const readiness = new Readiness()
  readiness.add('starting', () => (started.done ? undefined : 'the daemon is starting'))
  readiness.add('draining', () => (stop.isRequested ? 'the daemon is shutting down' : undefined))
  return readiness
}

async function openHealth({ health }: ServeValues, readiness: Readiness, log: Log): Promise<HealthServer | undefined> {
  if (!health) return undefined
  const open = await serveHealth({ ...health, readiness })
  const { host, port } = open.address
  log({ level: 'info', event: 'health-listening', host, port })
  return open
}

function whenDue({ due }: Stopping): Promise<void> {
  return new Promise((resolve) => {
    if (due.aborted) resolve()
    else due.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** Returns the configured limits, or lower ones if the process cannot open enough files. */
function fittingLimits(values: ServeValues, log: Log): Limits {
  const limits = { ...defaultLimits, ...limitsOf(values) }
  const descriptors = descriptorLimit()
  if (descriptors === undefined) return limits
  const fitting = { ...limits, ...withinDescriptors(limits, descriptors) }
  const { links, fileInstances: uploads } = fitting
  if (links < limits.links || uploads < limits.fileInstances) {
    const text =
      `this process can open ${descriptors} files and therefore accepts ${links} links and ${uploads} uploads at once; ` +
      'raise the limit of open files (ulimit -n 4096) for more'
    log({ level: 'warn', event: 'few-descriptors', descriptors, links, uploads, text })
  }
  return fitting
}

async function open(
  values: ServeValues,
  limits: Limits,
  listen: DaemonTransport,
  readiness: Readiness,
  log: Log,
): Promise<{ readonly server: Server; readonly problem: () => string | undefined } | undefined> {
  const { host, data, 'on-conflict': onConflict, notify, 'allow-plaintext': allowPlaintext } = values
  const isTls = values.tls !== undefined || values['tls-cert'] !== undefined
  const isProxied = values['proxy-protocol'] !== undefined
  const exposure = { host, isProxied, isTls, hasClientCa: values['tls-client-ca'] !== undefined, allowPlaintext }
  const { shared, users, hasUsers, knows } = await usersOf(values, withoutUsers(exposure), log)
  const authenticator = identityOf(users, exposure, data)
  const warning = checkExposure({ ...exposure, hasUsers })
  if (warning !== undefined) log({ level: 'warn', event: 'exposed', text: warning })
  await checkNotified(notify, knows)
  const problem = () => shared?.problem()
  if (shared) readiness.add('cluster', problem)
  const { storage = disk(data), links } = shared ?? {}
  const options = { listen, storage, authenticator, allowPlaintext, limits, onConflict, notify, log }
  const server = await serve({ ...options, ...(links && { links }) }).catch(cannotListen)
  const address = server?.addresses[0]
  if (shared && address) shared.listensOn(addressText(address))
  return server && { server, problem }
}

/** Throws UsageError if a user of `--notify` does not exist: messages to this user would only fill the mailbox. */
async function checkNotified(notify: ServeValues['notify'], knows: Authenticator['knows']): Promise<void> {
  for (const { user } of notify) {
    if ((await knows(user)) !== false) continue
    throw new UsageError(`--notify ${user}: there is no such user; add it with "ospd user add ${user}" first`)
  }
}

/** Opens the users: those of the cluster, or those in the data directory. */
async function usersOf({ host, port, data, cluster, files }: ServeValues, otherwise: Authenticator, log: Log) {
  if (cluster === undefined || files === undefined) {
    const users = usersFile(data, otherwise, { noticed: userChangeLogger(log) })
    return { users, hasUsers: await users.exists(), knows: (user: string) => users.knows(user) }
  }
  const location = { database: cluster, files }
  const shared = postgresCluster({
    ...location,
    name: hostname(),
    address: addressText({ host, port }),
    otherwise,
    log,
  })
  // The authenticator of the cluster needs the storage, which is not open yet.
  const names = await withClusterUsers(cluster, async (users) =>
    (await users.exists()) ? new Set((await users.list()).map(({ name }) => name)) : undefined,
  )
  const knows: Authenticator['knows'] = async (user) => names?.has(user) ?? otherwise.knows(user)
  return { shared, users: shared.authenticator, hasUsers: names !== undefined, knows }
}

function logger({ quiet }: ServeValues): Log {
  const styles = stylesFor(process.stderr)
  const lineOf = (entry: LogEntry) => formatLogEntry(entry, new Date(), styles)
  stderr.describeDropped = (lines) => lineOf({ level: 'warn', event: 'log-dropped', lines })
  return (entry) => {
    if (quiet && (entry.level === 'info' || entry.level === 'debug')) return
    if (entry.level !== 'debug') errorLine(lineOf(entry))
  }
}
