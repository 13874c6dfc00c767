import { OspError } from 'ospd'
import { askControl } from 'ospd/node'
import { type Status, type StatusEvent, statusEvents } from '../common/events.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { checkDirectory } from '../common/files.ts'
import { errorLine, results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { addressText, path, setting, switched, type Values } from '../common/settings.ts'
import { fit, printable, type Style, stylesFor, widthOf } from '../common/text.ts'
import { formatPart, formatSize, formatTime } from '../common/units.ts'
import { unexpectedOperand } from '../common/usage.ts'

const settings = {
  data: setting(path, './ospd-data', { describe: 'data directory of the daemon' }),
  json: switched({ describe: 'print results as JSON, one object per line (docs/json.md)' }),
} as const

type StatusValues = Values<typeof settings>

/** `ospd status`: prints the state of a running daemon. */
export const statusCommand = command({
  name: 'status',
  operands: '',
  describe: 'Print the users that are online, the running uploads and the fill levels of the mailboxes.',
  settings,
  examples: [
    ['ospd status', 'print the state of the daemon with ./ospd-data'],
    ['ospd status --data /srv/ospd --json | jq .uploads', 'print the running uploads as JSON'],
  ],
  onlyLists: () => true,
  run,
})

async function run({ data, json }: StatusValues, operands: readonly string[]): Promise<number> {
  const [operand] = operands
  if (operand !== undefined) throw unexpectedOperand('status', operand)
  await checkDirectory('--data', data, 'exists')
  const status = await ask(data).catch(noDaemon)
  if (!status) {
    errorLine(`ospd: no daemon is running with the data directory ${printable(data)}`)
    return exitCodes.unreachable
  }
  const event: StatusEvent = { event: 'status', ...status }
  if (json) results.event(event)
  else for (const line of statusLines(status, data, stylesFor(process.stdout).bold)) results.line(line)
  return exitCodes.done
}

async function ask(data: string): Promise<Status> {
  const answer = statusEvents.status.safeParse(await askControl(data, { ask: 'status' }))
  if (answer.success) return answer.data
  throw new OspError(
    'malformed',
    `the daemon of ${printable(data)} is of another version; use the "ospd status" of that version`,
  )
}

/** Ignores the error of a missing daemon. Throws any other error. */
function noDaemon(error: unknown): undefined {
  if (!isAbsence(error)) throw error
}

/** Returns whether an error of `askControl` means that no daemon is running. */
export function isAbsence(error: unknown): boolean {
  return error instanceof OspError && error.code === 'unreachable' && absences.has(errnoOf(error.cause))
}

const absences = new Set(['ENOENT', 'ENOTDIR', 'ECONNREFUSED'])

const errnoOf = (cause: unknown) => (cause as NodeJS.ErrnoException | undefined)?.code ?? ''

/** Formats a status: a line about the daemon, and three lists with headings. */
export function statusLines(status: Status, data: string, heading: Style): readonly string[] {
  const { pid, uptimeMs, links, fingerprint } = status
  const secured = fingerprint === undefined ? '' : ` with TLS, fingerprint ${printable(fingerprint)}`
  const place = printable(addressText(status)) + secured
  return [
    `ospd on ${place}, data in ${printable(data)}, process ${pid}, up for ${formatTime(uptimeMs)}, ${counted(links, 'link')}`,
    ...list(heading('online'), onlineRows(status), status.moreOnline),
    ...list(heading('uploads'), uploadRows(status), status.moreUploads),
    ...list(heading('mailboxes'), mailboxRows(status), status.moreMailboxes),
  ]
}

type Row = readonly string[]

const onlineRows = ({ online }: Status): readonly Row[] => online.map((user) => [printable(user)])

const uploadRows = ({ uploads }: Status): readonly Row[] =>
  uploads.map(({ user, name, size, progress, durable }) => [
    printable(user),
    printable(name),
    `${size === 0 ? 100 : Math.floor((100 * progress) / size)} %`,
    formatPart(progress, size),
    `${formatSize(durable)} durable`,
  ])

const mailboxRows = ({ mailboxes, mailboxMessages, mailboxBytes }: Status): readonly Row[] =>
  mailboxes.map(({ user, messages, bytes }) => [
    printable(user),
    `${messages} of ${counted(mailboxMessages, 'message')}`,
    `${formatSize(bytes)} of ${formatSize(mailboxBytes)}`,
  ])

/** Formats a list as `heading: none`, or as rows of aligned cells below the heading. */
function list(heading: string, rows: readonly Row[], more: number): readonly string[] {
  if (rows.length === 0) return [`${heading}: none`]
  const widths = rows.reduce<readonly number[]>(
    (all, row) => row.map((cell, at) => Math.max(all[at] ?? 0, widthOf(cell))),
    [],
  )
  const lines = rows.map((row) => `  ${row.map((cell, at) => fit(cell, widths[at] ?? 0)).join('  ')}`.trimEnd())
  return [`${heading}:`, ...lines, ...(more > 0 ? [`  and ${more} more`] : [])]
}

const counted = (count: number, one: string) => `${count} ${one}${count === 1 ? '' : 's'}`
