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

/** What a command has that does one thing by one client. */
export interface CommandContext {
  readonly client: Client
  readonly results: ResultOutput
  readonly say: StatusPrinter
  /** Aborts at the first Ctrl-C. The client is closed then. */
  readonly interrupted: AbortSignal
}

/** Why an errand has failed. */
export interface CommandFailure {
  readonly why: OspError
  readonly interrupted: boolean
  /** The server had let the client in before. */
  readonly wasOnline: boolean
  /** That the server is given up was told already, except in JSON. */
  readonly gaveUp: boolean
}

export interface CommandRun extends Pick<ConnectOptions, 'state' | 'log'> {
  /** What the client lets itself in by; by default what the settings say. */
  readonly token?: TokenSource
  /** The way to the server; by default the one of the settings. */
  readonly to?: Transport
  /** Does it. Once the client is closed or refused it has to end. */
  readonly run: (errand: CommandContext) => Promise<void>
  /** Tells why it has failed; by default what `tellFailure` tells. */
  readonly failed?: (failure: CommandFailure, errand: CommandContext) => void
}

/** Runs a command's errand, and returns the exit code. What is no OspError is thrown on. */
export async function runWithClient(values: CommonOptions, options: CommandRun): Promise<number> {
  const { run, failed = (failure, errand) => tellFailure(values, failure, errand) } = options
  const { state, log, token = new ConfiguredToken(values), to } = options
  const client = openClient(values, token, { state, log }, to)
  const say = statusPrinter(errorLine, stylesFor(process.stderr))
  let wasOnline = false
  client.on('status', (status) => {
    wasOnline ||= status === 'online'
  })
  reportLink({ client, token, results, say }, values)
  const interrupt = new AbortController()
  const errand = { client, results, say, interrupted: interrupt.signal }
  const interrupts = onInterrupt(() => {
    interrupt.abort()
    void client.close()
  })
  let code: number = exitCodes.done
  try {
    await run(errand)
  } catch (error) {
    if (!(error instanceof OspError)) throw error
    const { aborted: interrupted } = interrupt.signal
    failed({ why: error, interrupted, wasOnline, gaveUp: client.status === 'refused' && !values.json }, errand)
    code = interrupted ? exitCodes.interrupted : exitCodeOf(error)
  } finally {
    await client.close()
    interrupts[Symbol.dispose]()
  }
  return code
}

interface Linked extends Pick<CommandContext, 'client' | 'results' | 'say'> {
  readonly token: TokenSource
}

function reportLink({ client, token, results, say }: Linked, values: CommonOptions): void {
  const { server, json, quiet, 'retry-for': retryForMs } = values
  const place = addressText(server)
  const events = new LinkJsonReporter(place, (event) => results.event(event))
  watchLink(client, token, json ? events : new LinkTextReporter({ say, server: place, quiet, retryForMs }))
}

/** Tells why a command has failed; nothing where somebody has interrupted it, who knows. */
function tellFailure(
  { json }: CommonOptions,
  { why, interrupted, gaveUp }: CommandFailure,
  { results, say }: CommandContext,
): void {
  if (interrupted) return
  const { code, message: text, retry } = why
  const event: FailedEvent = { event: 'failed', code, text, retry }
  if (json) results.event(event)
  else if (!gaveUp) say(text, 'red')
}
