import { type Client, type ConnectOptions, createClient, OspError, type RefusedMessage, type Transport } from 'ospd'
import { knownServer, knownServers, type SeenServer, type TrustServer, tcp, tls } from 'ospd/node'
import { type CommonOptions, userOf } from './commonOptions.ts'
import { pemsOf, readPem } from './files.ts'
import { LinkReporter, watchLink } from './link.ts'
import { results, type StatusPrinter, say } from './output.ts'
import { addressText } from './settings.ts'
import { knownServersPath } from './stateDirectory.ts'
import { onInterrupt } from './terminal.ts'
import { printable } from './text.ts'
import { ConfiguredToken, type TokenSource } from './token.ts'
import { asUsageError, exitCodeOf, exitCodes, UsageError } from './usage.ts'

/** The failure of a command. */
export interface CommandFailure {
  readonly error: OspError
  readonly interrupted: boolean
  /** Whether the server had accepted the login before. */
  readonly wasOnline: boolean
  /** Whether a line has already reported the error, because the client gave up. Never set with `--json`. */
  readonly gaveUp: boolean
}

export interface CommandRun extends Pick<ConnectOptions, 'device' | 'state' | 'log' | 'limitRate' | 'downloadsAtOnce'> {
  /** The token to log in with. By default the configured one. */
  readonly token?: TokenSource
  /** The transport to the server. By default the configured one. */
  readonly to?: Transport
  /** Reports the connection; by default on stderr, or with `--json` as events. */
  readonly reporter?: LinkReporter
  /** Returns whether the command itself reports the outcome of the message with this id. */
  readonly reportsMessage?: (id: string) => boolean
  /** Performs the operation. Must end when the client is closed or rejected. */
  readonly run: (client: Client, interrupted: AbortSignal) => Promise<void>
  /** Called at the first Ctrl-C; by default closes the client, which ends the operation. The second Ctrl-C ends the process. */
  readonly interrupted?: () => void
  /** Reports a failure. By default prints the error, unless the command was interrupted. */
  readonly failed?: (failure: CommandFailure) => void
}

/** Runs a command with a client. Resolves with the exit code. Rejects with any error that is not an OspError. */
export async function runWithClient(values: CommonOptions, options: CommandRun): Promise<number> {
  const {
    run,
    failed = printFailure,
    token = new ConfiguredToken(values),
    to,
    reporter,
    interrupted,
    reportsMessage,
    ...more
  } = options
  const client = openClient(values, token, more, to)
  reportRefusedMessages(client, { isReported: reportsMessage })
  let wasOnline = false
  client.on('status', (status) => {
    wasOnline ||= status === 'online'
  })
  watchLink(client, token, reporter ?? new LinkReporter(values))
  const interrupt = new AbortController()
  using _ = onInterrupt(() => {
    interrupt.abort()
    if (interrupted) interrupted()
    else void client.close()
  })
  try {
    await run(client, interrupt.signal)
    return exitCodes.done
  } catch (error) {
    if (!(error instanceof OspError)) throw error
    const { aborted: wasInterrupted } = interrupt.signal
    const gaveUp = client.status === 'refused' && !values.json
    failed({ error, interrupted: wasInterrupted, wasOnline, gaveUp })
    return wasInterrupted ? exitCodes.interrupted : exitCodeOf(error)
  } finally {
    await client.close()
  }
}

function printFailure({ error, interrupted, gaveUp }: CommandFailure): void {
  if (interrupted) return
  const { code, message: text, retry } = error
  if (results.json) results.event({ event: 'failed', code, text, retry })
  else if (!gaveUp) say(text, 'red')
}

interface RefusalReport {
  /** Returns whether the command itself reports the outcome of the message with this id. */
  readonly isReported?: ((id: string) => boolean) | undefined
  /** Prints the line; by default on stderr. */
  readonly print?: StatusPrinter
}

/** Reports the messages of the outbox that the server permanently refuses. */
export function reportRefusedMessages(client: Client, { isReported, print }: RefusalReport): void {
  client.on('messageRefused', (message, error) => {
    if (!message.isQueued && !isReported?.(message.id)) reportMessage('message-refused', message, error, print)
  })
}

/** Reports a message of the outbox that the server has refused, permanently or temporarily. */
export function reportMessage(
  event: 'message-refused' | 'message-deferred',
  { id, recipients }: Pick<RefusedMessage, 'id' | 'recipients'>,
  error: OspError,
  print: StatusPrinter = say,
): void {
  const { code, message: text, recipients: affected = [] } = error
  if (results.json) {
    results.event({ event, id, recipients: [...recipients], affected: [...affected], code, text })
    return
  }
  const what = `a message to ${recipients.map(printable).join(', ')}`
  if (event === 'message-refused') print(`${what} was removed from the outbox: ${refusalText(error)}`, 'red')
  else print(`${what} waits in the outbox: ${refusalText(error)}`, 'yellow')
}

/** Returns the text about a recipient whose name may be wrong. */
export const unseenText = (recipient: string): string =>
  `no user ${recipient} has logged in to this server yet; the message waits for that user`

/** Returns the text of a refusal, with the recipients to which it applies. If a user is unknown, `advice` says what to do. */
export function refusalText({ code, message, recipients = [] }: OspError, advice = userAdvice): string {
  // The texts of these errors do not name the recipients.
  const isUnnamed = recipients.length > 0 && (code === 'unknown-user' || code === 'bad-name')
  const text = isUnnamed ? `${message}: ${recipients.map(printable).join(', ')}` : message
  return code === 'unknown-user' ? `${text}; ${advice}` : text
}

const userAdvice = 'the operator of the server adds users with "ospd user add"'

/** Returns a client, which connects when it is first used. Throws UsageError if the user or an option is not valid. */
export function openClient(
  values: CommonOptions,
  token: TokenSource,
  more: Pick<ConnectOptions, 'state' | 'log' | 'uploadsAtOnce' | 'downloadsAtOnce' | 'limitRate'> = {},
  to: Transport = closedOnceFlushed(clientTransport(values, trustFor(values, token))),
): Client {
  return createClient(to, {
    user: userOf(values),
    token: token.give,
    allowPlaintext: values['allow-plaintext'],
    retryForMs: values['retry-for'],
    ...more,
  })
}

/**
 * Returns a transport whose sockets count as closed when the system has taken their last frame. The command can then exit while
 * the system sends the frame; the server closes its side a round trip later. If bytes from the server arrive in between, the
 * system resets the connection, which can lose the last frame. A command whose last frames are not answered must not use this.
 */
export function closedOnceFlushed(to: Transport): Transport {
  return {
    ...to,
    async dial(options, signal) {
      const socket = await to.dial(options, signal)
      const close = socket.close.bind(socket)
      socket.close = async (last) => {
        const flushed = last && new Promise<void>((resolve) => void socket.send(last, resolve))
        await (flushed ? Promise.race([flushed, close()]) : close())
      }
      return socket
    },
  }
}

/** Returns the transport to the server, which `trust` checks. Throws UsageError if the options are not valid. */
export function clientTransport(values: CommonOptions, trust: TrustServer): Transport {
  const { server, 'tls-ca': caPath } = values
  if (!values.tls) {
    const stray = (['tls-ca', 'fingerprint', 'tls-cert', 'tls-key'] as const).find((name) => values[name] !== undefined)
    if (stray) throw new UsageError(`--${stray} requires --tls; without TLS nothing is encrypted`)
    return tcp(server)
  }
  const ca = caPath === undefined ? {} : { ca: readPem('--tls-ca', caPath) }
  const pems = pemsOf(values)
  try {
    return tls({ ...server, ...pems, ...ca, trust })
  } catch (error) {
    return asUsageError('with --tls', error)
  }
}

/**
 * Returns a function that trusts a server by the known servers or by a certificate authority. It pins the key of a new
 * server and prints its fingerprint, unless `--fingerprint` is given. With `--tls-ca` it trusts only that authority. If
 * `token` is given, it rejects a new server that presents only a key, unless `--fingerprint` names the key.
 */
export function trustFor(values: CommonOptions, token?: Pick<TokenSource, 'isGiven'>): TrustServer {
  const { 'tls-ca': ca, fingerprint: wanted } = values
  const pinned = (server: SeenServer) => {
    const key = `${server.fingerprint} as the key of ${addressText(server)}`
    say(`stored ${key}; compare it with the fingerprint that its daemon prints`, 'yellow')
  }
  const reports = wanted === undefined ? { pinned } : {}
  const known = knownServers(knownServersPath(values), { ...reports, pinsNobody: ca !== undefined })
  return async (server) => {
    const { fingerprint } = server
    const named = `the server at ${addressText(server)}`
    if (wanted !== undefined && wanted !== fingerprint) {
      throw new OspError('unauthorized', `${named} presents the key ${fingerprint}, not ${wanted}; no token was sent`)
    }
    if (wanted === undefined && token?.isGiven && (await isNewServer(values, server))) {
      const advice = `If its daemon prints the fingerprint ${fingerprint}, specify --fingerprint ${fingerprint}`
      throw new OspError('unauthorized', `${named} is not known yet; no token was sent. ${advice}`)
    }
    await known(server)
  }
}

/** Resolves with whether a server that no authority vouches for is not in the list of known servers. */
export async function isNewServer(values: CommonOptions, server: SeenServer): Promise<boolean> {
  if (server.verified || values['tls-ca'] !== undefined) return false
  try {
    return (await knownServer(knownServersPath(values), server)) === undefined
  } catch {
    // The trust check reports that the list cannot be read.
    return false
  }
}
