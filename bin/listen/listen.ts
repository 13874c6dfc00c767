import { isUtf8 } from 'node:buffer'
import {
  type Client,
  type ClientState,
  checkDeviceName,
  type FileReference,
  type Message,
  OspError,
  type Receiver,
  type WaitingMessage,
} from 'ospd'
import { keptReferences, stateDirectory } from 'ospd/node'
import { clientTransport, runWithClient, trustFor } from '../common/client.ts'
import { type CommonOptions, commonOptions } from '../common/commonOptions.ts'
import type { PrintedEvent } from '../common/events.ts'
import { checkDirectory } from '../common/files.ts'
import { checkStdout, jsonLine, results, say, sayOnce } from '../common/output.ts'
import { command } from '../common/program.ts'
import { kind, optionalSetting, resetUnused, switched, type Values } from '../common/settings.ts'
import { deviceDirectoryOf, openStateDirectory } from '../common/stateDirectory.ts'
import { printable, type Styles, stylesFor } from '../common/text.ts'
import { ConfiguredToken, commandLineOf } from '../common/token.ts'
import { localTime } from '../common/units.ts'
import { asUsageError, UsageError, unexpectedOperand } from '../common/usage.ts'
import { checkProgram, MessageProgram, type ProgramEnd } from './messageProgram.ts'
import { Permits } from './permits.ts'
import { listenForReceipts } from './receipts.ts'
import { printedReference, type SavedFile, saveFile } from './savedFiles.ts'

/** The limits of concurrent messages and of tries for a message, as those of `client.receive`. */
const mostAtOnce = 256
const defaultTries = 16

/** EX_DATAERR of sysexits.h, with which a program rejects a message. */
const rejectedCode = 65

/** The settings of `osp listen`. */
export const listenSettings = {
  count: {
    ...optionalSetting(kind.count, 'exit after N messages, not counting receipts', 'run until Ctrl-C'),
    alias: 'n',
  },
  device: optionalSetting(
    { ...kind.text, placeholder: 'NAME' },
    'listen as this device of the user; each known device receives every message',
  ),
  exec: optionalSetting(
    { ...kind.path, placeholder: 'PROGRAM' },
    'run PROGRAM with the operands ARG for each message, instead of printing it',
  ),
  save: optionalSetting(
    { ...kind.path, placeholder: 'DIR' },
    'save the file to which a message refers in DIR, before printing the message or running PROGRAM',
  ),
  receipts: switched('also print the receipts of sent messages, except those that another command waits for'),
  concurrency: optionalSetting(kind.count, 'with --exec: run up to N programs at once', '1'),
  tries: optionalSetting(kind.count, 'with --exec: set a message aside after PROGRAM has failed N times', '16'),
  ...commonOptions,
} as const

type ListenValues = Values<typeof listenSettings>

/** `osp listen`: prints the messages of a user, or runs a program for each. */
export const listenCommand = command({
  name: 'listen',
  operands: '[ARG...]',
  takesPaths: true,
  describe:
    'Print the waiting messages, and new messages as they arrive, until Ctrl-C; or run a program for each. The program receives ' +
    'the message as JSON on stdin. If it exits with 0, the message is acknowledged; if it exits with 65, the message is set ' +
    'aside; otherwise, the program is run again.',
  settings: listenSettings,
  examples: [
    ['osp listen', 'print time, sender and text of each message'],
    ['osp listen --count 1', 'wait for one message'],
    ['osp listen --json | jq -r .text', 'print the texts only'],
    ['osp listen --user ingest --exec ./import.sh', 'run ./import.sh for each message of the user "ingest"'],
    ['osp listen --device phone', 'receive every message, even if other devices also receive it'],
    ['osp listen --save inbox', 'also download the files that were sent to you'],
    ['osp listen --exec python3 -- import.py -v', 'run a program with operands'],
  ],
  run,
})

/**
 * Handles a message, whose file may have been saved. Resolves with false if the message is set aside. Rejects if the message must
 * be handled again.
 */
type Handle = (message: Message, saved?: SavedFile) => Promise<boolean>

/** Stops receiving; with an error that ends the command, or without one. */
type Stop = (error?: UsageError) => void

type Flags = Readonly<Record<string, unknown>>

async function run(given: ListenValues, args: readonly string[], flags: Flags): Promise<number> {
  const unused = given.exec === undefined ? (['concurrency', 'tries'] as const) : []
  const values = resetUnused(listenSettings, unused, given, flags, 'FLAG requires --exec')
  checkOptions(values, args)
  checkStdout('messages')
  const { save } = values
  if (save !== undefined) checkDirectory('--save', save, 'make-and-write')
  const directory = openStateDirectory(values)
  const device = deviceOf(values)
  const { outbox } = stateDirectory(directory)
  // Another device of the user may already have received a message.
  const { receipts } = stateDirectory(device === undefined ? directory : deviceDirectoryOf(directory, device))
  let receiver: Receiver | undefined
  let fault: UsageError | undefined
  const permits = new Permits(values.count)
  const stop: Stop = (error) => {
    fault ??= error
    void receiver?.[Symbol.asyncDispose]()
    permits.end()
  }
  // A message is acknowledged after it is recorded as handled.
  let recorded = 0
  const state: ClientState = {
    outbox,
    receipts: {
      load: () => receipts.load(),
      put: async (receipt, most) => {
        await receipts.put(receipt, most)
        if (++recorded === values.count) stop()
      },
    },
  }
  // Until a receipt can be stored, the client retries and handles no further messages.
  const log = sayOnce('receipt-not-stored', 'cannot record the handled message; retrying', 'red')
  const { exec, concurrency, tries } = values
  using program = exec === undefined ? undefined : new MessageProgram(exec, args)
  const handle = program ? executing(program, values, stop) : printing(stop)
  const receive = async (client: Client, interrupted: AbortSignal) => {
    const saving: Handle = async (message) => handle(message, await savedFile(client, save, message, interrupted))
    const handled = save === undefined ? keepingReferences(handle, values, directory) : saving
    receiver = client.receive(permitted(handled, permits), { concurrency, tries })
    using _ = values.receipts ? printingReceipts(client, directory) : undefined
    try {
      await receiver.done
    } finally {
      stop()
      // Running programs end before the command, even after an error of the receiver.
      if (program) await receiver[Symbol.asyncDispose]()
    }
    if (fault) throw fault
    if (interrupted.aborted && recorded !== values.count) throw new OspError('closed', 'interrupted')
    if (recorded === values.count) await client.flush()
  }
  const token = new ConfiguredToken(values)
  // Not `closedOnceFlushed`: the server does not answer acknowledgements, so they could be lost.
  const to = clientTransport(values, trustFor(values, token))
  const stopping = program && { interrupted: () => stop() }
  return await runWithClient(values, { token, to, device, state, log, run: receive, ...stopping })
}

/** Returns the name of the device in the Unicode form NFC. Throws UsageError if it is not allowed. */
function deviceOf({ device }: ListenValues): string | undefined {
  try {
    return device === undefined ? undefined : checkDeviceName(device.normalize('NFC'))
  } catch (error) {
    return asUsageError('--device', error)
  }
}

function checkOptions({ exec, concurrency = 1 }: ListenValues, [arg]: readonly string[]): void {
  if (concurrency > mostAtOnce) throw new UsageError(`--concurrency takes at most ${mostAtOnce}`)
  if (exec !== undefined) checkProgram(exec)
  else if (arg !== undefined) throw unexpectedOperand('osp listen without --exec', arg)
}

/** Prints receipts until the result is disposed of. */
function printingReceipts(client: Client, directory: string): Disposable {
  const stopping = new AbortController()
  listenForReceipts(client, directory, stopping.signal).catch((error) => say(OspError.from(error).message, 'red'))
  return { [Symbol.dispose]: () => stopping.abort() }
}

/** Returns a handler that stores the references in messages for `osp get --from`, and prints how to download the files. */
function keepingReferences(handle: Handle, values: ListenValues, directory: string): Handle {
  const references = keptReferences(directory)
  return async (message) => {
    const { file } = message
    const error = file && (await references.add(file).then(() => undefined, OspError.from))
    const isHandled = await handle(message)
    if (error) say(`${file.name} cannot be downloaded later: its reference was not stored: ${error.message}`, 'red')
    else if (file && values.exec === undefined && !values.quiet && !values.json)
      say(`to download it, run ${downloadLine(values, file)}`, 'yellow')
    return isHandled
  }
}

/** Returns the command line that downloads a file from a message. */
export const downloadLine = (values: CommonOptions, { owner, name }: Pick<FileReference, 'owner' | 'name'>): string =>
  commandLineOf('get', values, ['--from', owner, ...(name.startsWith('-') ? ['--', name] : [name])])

/** Returns a handler that takes a permit for each message. */
function permitted(handle: Handle, permits: Permits): (message: Message) => Promise<void> {
  return async (message) => {
    if (!(await permits.take())) throw new Error('the command is ending')
    let isHandled = false
    try {
      isHandled = await handle(message)
    } finally {
      if (!isHandled) permits.release()
    }
  }
}

/** Returns a handler that prints messages. */
function printing(stop: Stop): Handle {
  const styles = stylesFor(process.stdout)
  return async (message, saved) => {
    if (await results.printed(messageEvent(message, saved), messageLine(message, styles, saved))) return true
    stop()
    throw new Error('the message was not printed')
  }
}

/** Returns a handler that runs a program for each message, and prints the outcome. */
function executing(program: MessageProgram, values: ListenValues, stop: Stop): Handle {
  const { tries: mostTries = defaultTries, quiet } = values
  const styles = stylesFor(process.stdout)
  /** How often the program has failed for a message. */
  const failures = new WeakMap<Message, number>()
  const print = async (event: PrintedEvent, line: string) => {
    if (!(await results.printed(event, line))) stop()
  }

  const failed = async (message: Message, tries: number, end: ProgramEnd, named: Handling): Promise<false> => {
    failures.set(message, tries)
    const { code: exitCode, signal, result } = end
    const isLast = exitCode === rejectedCode || tries >= mostTries
    const reason = `${program.name} ${signal ? `was ended by ${signal}` : `exited with ${exitCode}`}`
    if (results.json) await print({ event: isLast ? 'set-aside' : 'retried', ...named, exitCode, signal, result }, '')
    else if (isLast || !quiet) sayFailed(reason, named, isLast)
    if (!isLast) throw new Error(reason)
    message.reject(rejectionOf(end, reason))
    return false
  }

  return async (message, saved) => {
    const tried = failures.get(message) ?? 0
    const { seq, id, from } = message
    const named = { seq, id, from, attempt: message.attempt + tried }
    const given = { ...message, attempt: named.attempt }
    const end = await program
      .run(given, saved, `${jsonLine(messageEvent(given, saved))}\n`)
      .catch((error: UsageError) => {
        stop(error)
        throw error
      })
    if (end.code !== 0) return await failed(message, tried + 1, end, named)
    await message.ack(end.result)
    await print({ event: 'handled', ...named, result: end.result }, resultLine(message, end.result, styles))
    return true
  }
}

/** Returns the reason for setting a message aside, which its sender can receive. `failure` describes how the program ended. */
function rejectionOf({ code, result }: ProgramEnd, failure: string): string {
  if (result === '') return failure
  return code === rejectedCode ? result : `${failure}: ${result}`
}

/** Prints that a program has failed. */
function sayFailed(reason: string, { seq, from }: Handling, isLast: boolean): void {
  const what = `${reason} for message ${seq} from ${from}`
  if (isLast) say(`${what}; the message is set aside`, 'red')
  else say(`${what}; retrying`, 'yellow')
}

/** The fields that the events about a program have in common. */
interface Handling {
  readonly seq: number
  readonly id: string
  readonly from: string
  readonly attempt: number
}

/** Formats a handled message as a line: time, sender, result. */
const resultLine = ({ sentAt, from }: Message, result: string, { dim, bold }: Styles) =>
  [dim(localTime(sentAt)), bold(printable(from)), printable(result)].join(' ').trimEnd()

/** Formats a message as a line: time, sender, text. Marks a message that may have been printed before. */
export function messageLine(message: Message, { dim, bold, yellow }: Styles, saved?: SavedFile): string {
  const { sentAt, from, attempt } = message
  const again = attempt > 1 ? [yellow('(again?)')] : []
  return [dim(localTime(sentAt)), bold(printable(from)), ...again, printable(messageText(message, saved))].join(' ')
}

/** Returns the text of a message, or describes its file. */
export const messageText = (message: WaitingMessage, saved?: SavedFile): string =>
  message.file ? fileText(message.file, saved) : message.text()

/** Describes the file of a message. */
function fileText({ name, size, digest }: FileReference, saved: SavedFile | undefined): string {
  if (!saved) return `file ${name}, ${size} bytes, ${digest}`
  return 'path' in saved ? `file ${name} saved as ${saved.path}` : `file ${name}: ${saved.error.message}`
}

/** Saves the file of a message, if it has one. */
async function savedFile(
  client: Client,
  folder: string | undefined,
  message: Message,
  interrupted: AbortSignal,
): Promise<SavedFile | undefined> {
  if (folder === undefined) return undefined
  try {
    return await saveFile(client, folder, message, interrupted)
  } catch (error) {
    if (!interrupted.aborted) say(`${OspError.from(error).message}; retrying`, 'yellow')
    throw error
  }
}

/** Returns the event of a message. */
export function messageEvent(message: Message, saved?: SavedFile): PrintedEvent {
  const path = saved && 'path' in saved ? saved.path : null
  return { event: 'message', ...messageFields(message), attempt: message.attempt, saved: path }
}

/** Returns the fields that the events of messages have in common. */
export function messageFields(message: WaitingMessage) {
  const { id, seq, from, sentAt, inReplyTo = null } = message
  const headers = { ...message.headers }
  const bytes = Buffer.from(message.content)
  const isText = isUtf8(bytes)
  const body = { text: isText ? bytes.toString() : null, content: isText ? null : bytes.toString('base64') }
  const file = message.file ? printedReference(message.file) : null
  return { seq, id, from, sentAt: sentAt.toISOString(), headers, inReplyTo, ...body, file }
}
