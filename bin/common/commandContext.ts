import { type Client, type ConnectOptions, OspError, type Transport } from 'ospd'
import { openClient } from './client.ts'
import type { CommonOptions } from './commonOptions.ts'
import type { FailedEvent } from './events.ts'
import { exitCodeOf, exitCodes } from './exitCodes.ts'
import { LinkJsonReporter, LinkTextReporter, watchLink } from './link.ts'
import { errorLine, type ResultOutput, results, type StatusPrinter, statusPrinter } from './output.ts'
import { addressText } from './settings.ts'
import { onInterrupt } from './terminal.ts'
import { stylesFor } from './text.ts'
import { ConfiguredToken, type TokenSource } from './token.ts'

/** The client and the output of a command that performs one operation. */
export interface CommandContext {
  readonly client: Client
  readonly results: ResultOutput
  readonly say: StatusPrinter
  /** Aborts at the first Ctrl-C. The client is closed then. */
  readonly interrupted: AbortSignal
}

/** The failure of a command. */
export interface CommandFailure {
  readonly error: OspError
  readonly interrupted: boolean
  /** Whether the server had accepted the login before. */
  readonly wasOnline: boolean
  /** Whether a line has already reported the error, because the client gave up. Never set with `--json`. */
  readonly gaveUp: boolean
}

export interface CommandRun extends Pick<ConnectOptions, 'state' | 'log'> {
  /** The token to log in with. By default the configured one. */
  readonly token?: TokenSource
  /** The transport to the server. By default the configured one. */
  readonly to?: Transport
  /** Performs the operation. Must end when the client is closed or rejected. */
  readonly run: (context: CommandContext) => Promise<void>
  /** Reports a failure. By default prints the error. */
  readonly failed?: (failure: CommandFailure, context: CommandContext) => void
}

/** Runs a command with a client. Resolves with the exit code. Rejects with any error that is not an OspError. */
export async function runWithClient(values: CommonOptions, options: CommandRun): Promise<number> {
  const { run, failed = (failure, context) => printFailure(values, failure, context) } = options
  const { state, log, token = new ConfiguredToken(values), to } = options
  const client = openClient(values, token, { state, log }, to)
  const say = statusPrinter(errorLine, stylesFor(process.stderr))
  let wasOnline = false
  client.on('status', (status) => {
    wasOnline ||= status === 'online'
  })
  const { server, json, quiet, 'retry-for': retryForMs } = values
  const address = addressText(server)
  const reporter = json
    ? new LinkJsonReporter(address, (event) => results.event(event))
    : new LinkTextReporter({ say, server: address, quiet, retryForMs })
  watchLink(client, token, reporter)
  const interrupt = new AbortController()
  const context = { client, results, say, interrupted: interrupt.signal }
  const interrupts = onInterrupt(() => {
    interrupt.abort()
    void client.close()
  })
  try {
    await run(context)
    return exitCodes.done
  } catch (error) {
    if (!(error instanceof OspError)) throw error
    const { aborted: interrupted } = interrupt.signal
    failed({ error, interrupted, wasOnline, gaveUp: client.status === 'refused' && !json }, context)
    return interrupted ? exitCodes.interrupted : exitCodeOf(error)
  } finally {
    await client.close()
    interrupts[Symbol.dispose]()
  }
}

/** Prints the error of a command. Prints nothing after Ctrl-C. */
function printFailure(
  { json }: CommonOptions,
  { error, interrupted, gaveUp }: CommandFailure,
  { results, say }: CommandContext,
): void {
  if (interrupted) return
  const { code, message: text, retry } = error
  const event: FailedEvent = { event: 'failed', code, text, retry }
  if (json) results.event(event)
  else if (!gaveUp) say(text, 'red')
}
