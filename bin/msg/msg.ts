import {
  type Client,
  connectionErrors,
  type MessageReceipt,
  nearestName,
  OspError,
  type PresenceMember,
  type RecipientState,
  type SentMessage,
} from 'ospd'
import { outboxControl, pathBytes, stateDirectory } from 'ospd/node'
import { type CommandFailure, refusalText, runWithClient, unseenText } from '../common/client.ts'
import { commonOptions, shortRetryFor, userNamed } from '../common/commonOptions.ts'
import { readInput } from '../common/input.ts'
import { LinkReporter } from '../common/link.ts'
import { results, say } from '../common/output.ts'
import { pairs, pairsOf } from '../common/pairs.ts'
import { command } from '../common/program.ts'
import { kind, optionalSetting, switched, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { printable } from '../common/text.ts'
import { exitCodes, UsageError } from '../common/usage.ts'
import { receiptFields, receiptLine, waitingForReceipts } from '../listen/receipts.ts'

const settings = {
  queue: switched('if the message cannot be sent now, leave it in the outbox and exit'),
  header: pairs('add this header to the message, such as contentType=application/json'),
  ttl: optionalSetting(
    kind.duration,
    'time after which the server removes the message if it has not been handled',
    'the limit of the server',
  ),
  receipt: switched('wait until each recipient has handled or rejected the message, and print the results'),
  ...commonOptions,
  'retry-for': {
    ...shortRetryFor,
    describe:
      'keep retrying for TIME if the server is unreachable or rejects the login temporarily; not if it rejects the message',
  },
} as const

type MsgValues = Values<typeof settings>

/** `osp msg`: sends a message. */
export const msgCommand = command({
  name: 'msg',
  operands: 'RECIPIENT... TEXT',
  describe: 'Send a message to one or more users. The server stores it for users who are offline.',
  settings,
  examples: [
    ['osp msg bob "lunch?"', 'send a message to one user'],
    ['osp msg bob carol "lunch?"', 'send it to both users, or to neither if one cannot receive it'],
    ['osp msg --queue bob "lunch?"', 'send it later if the server cannot be reached now'],
    ['git log -1 | osp msg bob -', 'send the content of stdin, up to 64 KiB'],
    ['osp msg --ttl 10m bob "lunch?"', 'send a message that expires if it is not handled within 10 minutes'],
    ['osp msg --receipt bob "restart"', 'wait until a program of the user bob has handled the message'],
    ['osp msg bob -- "-1 is a number"', 'send text that begins with a dash'],
  ],
  run,
})

async function run(values: MsgValues, operands: readonly string[]): Promise<number> {
  const text = operands.at(-1)
  const names = operands.slice(0, -1)
  if (text === undefined) throw new UsageError('specify a RECIPIENT and a TEXT')
  if (names.length === 0) throw new UsageError('specify a TEXT after the RECIPIENT, or - to read the text from stdin')
  if (values.receipt && values.queue) throw new UsageError('specify either --queue or --receipt')
  const recipients = names.map((name) => userNamed(name, 'RECIPIENT'))
  const headers = pairsOf('--header', values.header, 'the headers of a message')
  const options = { headers, timeToLiveMs: values.ttl, receipt: values.receipt }
  const directory = openStateDirectory(values)
  let sent: SentMessage | undefined
  /** Whether the message is in the outbox. */
  let isQueued = false
  let isStored = false
  let isHandled = true
  let online: Iterable<PresenceMember> = []
  const code = await runWithClient(values, {
    state: stateDirectory(directory),
    // With --queue the command does not wait for the server.
    ...(values.queue && { reporter: new LinkReporter({ ...values, quiet: true }) }),
    reportsMessage: (id) => id === sent?.id,
    async run(client, interrupted) {
      const content = await contentOf(text, interrupted)
      const obstacle = firstObstacle(client, values.queue)
      sent = client.send(recipients, content, options)
      const { id, queued, stored } = sent
      online = client.presence
      client.on('messageRefused', (message) => {
        if (message.id === id) isQueued = message.isQueued
      })
      await queued
      isQueued = true
      const outcome = await Promise.race([stored, obstacle(id)])
      if (!(outcome instanceof OspError)) {
        isStored = true
        printStates(values, id, outcome, online)
        if (!values.receipt) return
        if (!values.json && !values.quiet) say(waitingForReceipts(recipients), 'yellow')
        isHandled = await printReceipts(sent.receipts())
      } else if (values.queue) printQueued(values, id, recipients, outcome)
      else throw outcome
    },
    failed(failure) {
      const advice = nameAdvice(failure.error.recipients ?? [], recipients, online)
      printFailure(sent?.id, failure, isStored ? 'stored' : values.queue && isQueued && 'queued', advice)
    },
  })
  if (code === exitCodes.done && !isHandled) return exitCodes.unhandled
  // A caller may repeat a command that has failed.
  if (code !== exitCodes.done && !isStored && !values.queue && sent) await withdraw(directory, sent.id)
  return code
}

/**
 * Returns a function that resolves when the server has temporarily refused the message with this id or, with `--queue`, when an
 * attempt to connect has failed.
 */
function firstObstacle(client: Client, queues: boolean): (id: string) => Promise<OspError> {
  const unreached = new Promise<OspError>((resolve) => {
    client.on('status', (status, error) => {
      const isLost = status === 'refused' && error !== undefined && connectionErrors.has(error.code)
      if (queues && error && (status === 'waiting' || isLost)) resolve(error)
    })
  })
  return (id) => {
    const refused = new Promise<OspError>((resolve) => {
      client.on('messageRefused', (message, error) => {
        if (message.id === id && message.isQueued) resolve(error)
      })
    })
    return Promise.race([unreached, refused])
  }
}

/** Removes a message from the outbox, if it is there. */
async function withdraw(directory: string, id: string): Promise<void> {
  const outbox = outboxControl(directory)
  const own = (await outbox.list()).filter((message) => message.id === id)
  if (own.length > 0) await outbox.remove(own.map(({ number }) => number))
}

/** Returns what to do if some of the recipients are unknown: name another user who is online, or quote the text. */
function nameAdvice(
  unknown: readonly string[],
  all: readonly string[],
  online: Iterable<PresenceMember>,
): string | undefined {
  const users = Array.from(online, ({ user }) => user).filter((user) => !all.includes(user))
  const [meant] = unknown.flatMap((name) => nearestName(name, users) ?? [])
  if (meant !== undefined) return `did you mean ${meant}?`
  return all.length > 1 ? 'enclose text of several words in quotes' : undefined
}

function printStates(
  { json, quiet }: MsgValues,
  id: string,
  states: readonly RecipientState[],
  online: Iterable<PresenceMember>,
): void {
  const recipients = states.map(({ recipient }) => recipient)
  for (const { recipient, status } of states) {
    const line = `${printable(recipient)} ${status === 'unseen' ? 'stored' : status}`
    results.print({ event: 'sent', id, recipient, status }, line)
    if (json || quiet || status !== 'unseen') continue
    const advice = nameAdvice([recipient], recipients, online)
    const text = unseenText(recipient)
    say(advice === undefined ? text : `${text}; ${advice}`, 'yellow')
  }
}

/** Prints the receipts of a message. Resolves with whether all recipients handled it. */
async function printReceipts(receipts: AsyncIterable<MessageReceipt>): Promise<boolean> {
  let isHandled = true
  for await (const receipt of receipts) {
    if (receipt.state !== 'handled') isHandled = false
    // The server keeps the receipt until the next one is requested.
    if (!(await results.printed({ event: 'receipt', ...receiptFields(receipt) }, receiptLine(receipt)))) break
  }
  return isHandled
}

function printQueued(
  { json, quiet }: MsgValues,
  id: string,
  recipients: readonly string[],
  { message }: OspError,
): void {
  for (const recipient of new Set(recipients))
    results.print({ event: 'queued', id, recipient }, `${printable(recipient)} queued`)
  if (json || quiet) return
  say(`${message}; the next "osp msg", "osp send" or "osp listen" sends the message`, 'yellow')
}

function printFailure(
  id: string | undefined,
  failure: CommandFailure,
  kept: 'stored' | 'queued' | false,
  advice: string | undefined,
): void {
  const { error, interrupted, gaveUp, wasOnline } = failure
  const { code, message: text, retry, recipients } = error
  const isUnknown = wasOnline && (connectionErrors.has(code) || code === 'closed' || code === 'superseded')
  const outcome = kept || (isUnknown ? 'unknown' : 'not-sent')
  if (results.json) {
    results.event({ event: 'failed', code, text, retry, recipients: [...(recipients ?? [])], outcome })
    return
  }
  const reason = interrupted ? 'interrupted' : refusalText(error, advice)
  const result = outcome === 'stored' ? `the message ${id} was stored; ${outcomes.stored}` : outcomes[outcome]
  say(gaveUp ? result : `${result}: ${reason}`, interrupted ? 'yellow' : 'red')
}

const outcomes = {
  stored: 'print its receipts with osp listen --receipts',
  queued: 'the message waits in the outbox',
  unknown: 'it is unknown whether the message was stored',
  'not-sent': 'the message was not sent',
} as const

const mostBytes = 64 * 1024

/** Resolves with the content of a message: TEXT, or stdin if TEXT is `-`. Rejects with OspError `too-large`. */
async function contentOf(text: string, interrupted: AbortSignal): Promise<Uint8Array> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of text === '-' ? readInput(interrupted) : [Buffer.from(pathBytes(text))]) {
    parts.push(part)
    bytes += part.length
    // Content that is too long is not read to its end.
    if (bytes > mostBytes) throw new OspError('too-large', 'a message has at most 64 KiB; send a file with "osp send"')
  }
  return Buffer.concat(parts)
}
