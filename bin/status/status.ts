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
  data: setting(path, './ospd-data', { describe: 'the data directory of the daemon' }),
  json: switched({ describe: 'print JSON on stdout, one object a line (docs/json.md)' }),
} as const

type StatusValues = Values<typeof settings>

/** `ospd status`: prints how a running daemon fares. */
export const statusCommand = command({
  name: 'status',
  operands: '',
  describe: 'Print who is online, which uploads run and how full the mailboxes are.',
  settings,
  examples: [
    ['ospd status', 'of the daemon that has ./ospd-data'],
    ['ospd status --data /srv/ospd --json | jq .uploads', 'for programs'],
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
    errorLine(`ospd: no ospd is running with its data in ${printable(data)}`)
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
  throw new OspError('malformed', `the daemon that has ${printable(data)} is of another version; use its own "status"`)
}

/** That nobody is there is no more than that, whatever the system calls it; other errors are thrown on. */
function noDaemon(error: unknown): undefined {
  if (!isAbsence(error)) throw error
}

/** Whether an error of `askControl` says that no daemon is there. */
export function isAbsence(error: unknown): boolean {
  return error instanceof OspError && error.code === 'unreachable' && absences.has(errnoOf(error.cause))
}

const absences = new Set(['ENOENT', 'ENOTDIR', 'ECONNREFUSED'])

const errnoOf = (cause: unknown) => (cause as NodeJS.ErrnoException | undefined)?.code ?? ''

/** A status for people: a line about the daemon, and three lists, each under its heading. */
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

/** `heading: none`, or the rows below it with their cells in columns. */
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
