import { type Client, type ConnectOptions, OspError, type Transport } from 'ospd'
import { openClient } from './client.ts'
import type { CommonOptions } from './commonOptions.ts'
import { LinkJsonReporter, LinkTextReporter, watchLink } from './link.ts'
import { results, say } from './output.ts'
import { onInterrupt } from './terminal.ts'
import { ConfiguredToken, type TokenSource } from './token.ts'
import { exitCodeOf, exitCodes } from './usage.ts'

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
  /** Performs the operation. Must end when the client, which is closed at the first Ctrl-C, is closed or rejected. */
  readonly run: (client: Client, interrupted: AbortSignal) => Promise<void>
  /** Reports a failure. By default prints the error, unless the command was interrupted. */
  readonly failed?: (failure: CommandFailure) => void
}

/** Runs a command with a client. Resolves with the exit code. Rejects with any error that is not an OspError. */
export async function runWithClient(values: CommonOptions, options: CommandRun): Promise<number> {
  const { run, failed = printFailure, state, log, token = new ConfiguredToken(values), to } = options
  const client = openClient(values, token, { state, log }, to)
  let wasOnline = false
  client.on('status', (status) => {
    wasOnline ||= status === 'online'
  })
  watchLink(client, token, new (values.json ? LinkJsonReporter : LinkTextReporter)(values))
  const interrupt = new AbortController()
  using _ = onInterrupt(() => {
    interrupt.abort()
    void client.close()
  })
  try {
    await run(client, interrupt.signal)
    return exitCodes.done
  } catch (error) {
    if (!(error instanceof OspError)) throw error
    const { aborted: interrupted } = interrupt.signal
    failed({ error, interrupted, wasOnline, gaveUp: client.status === 'refused' && !values.json })
    return interrupted ? exitCodes.interrupted : exitCodeOf(error)
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
