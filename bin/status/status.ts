import { OspError } from 'ospd'
import { askControl, lockHolder } from 'ospd/node'
import type * as z from 'zod/mini'
import { type Status, statusEvent } from '../common/events.ts'
import { checkDirectory } from '../common/files.ts'
import { errorLine, results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { addressText, jsonSetting, kind, setting, type Values } from '../common/settings.ts'
import { printable, type Style, stylesFor, tableLines } from '../common/text.ts'
import { formatPart, formatSize, formatTime } from '../common/units.ts'
import { exitCodes } from '../common/usage.ts'

const settings = {
  data: setting(kind.path, './ospd-data', 'data directory of the daemon'),
  json: jsonSetting,
} as const

/** `ospd status`: prints the state of a running daemon. */
export const statusCommand = command({
  name: 'status',
  describe: 'Print the users who are online, the running uploads and how full the mailboxes are.',
  settings,
  examples: [
    ['ospd status', 'print the state of the daemon with ./ospd-data'],
    ['ospd status --data /srv/ospd --json | jq .uploads', 'print the running uploads as JSON'],
  ],
  onlyLists: () => true,
  run,
})

async function run({ data, json }: Values<typeof settings>): Promise<number> {
  checkDirectory('--data', data, 'exists')
  try {
    const status = await askDaemon(data, { ask: 'status' }, statusEvent)
    if (json) results.event({ event: 'status', ...status })
    else for (const line of statusLines(status, data, stylesFor(process.stdout).bold)) results.line(line)
    return exitCodes.done
  } catch (error) {
    if (!isAbsence(error)) throw error
    errorLine(`ospd: ${absenceText(printable(data), await lockHolder(data))}`)
    return exitCodes.unreachable
  }
}

function absenceText(data: string, holder: Awaited<ReturnType<typeof lockHolder>>): string {
  if (!holder) return `no daemon is running with the data directory ${data}`
  const reason = 'it embeds a server (use server.status() there), or its log says why it has no control socket'
  return `${data} is in use by ${printable(holder.text)}, which does not answer: ${reason}`
}

/** Resolves with the reply of a daemon. Rejects as `askControl` does, and with OspError `malformed` for another version. */
export async function askDaemon<T>(data: string, request: object, answer: z.ZodMiniType<T>): Promise<T> {
  const parsed = answer.safeParse(await askControl(data, request))
  if (parsed.success) return parsed.data
  throw new OspError('malformed', `the daemon that uses ${printable(data)} has another version; use its commands`)
}

/** Returns whether an error of `askControl` means that no daemon is running. */
export function isAbsence(error: unknown): boolean {
  if (!(error instanceof OspError) || error.code !== 'unreachable') return false
  const { code = '' } = (error.cause ?? {}) as NodeJS.ErrnoException
  return ['ENOENT', 'ENOTDIR', 'ECONNREFUSED'].includes(code)
}

/** Formats a status: a line about the daemon, and three lists with headings. */
export function statusLines(status: Status, data: string, heading: Style): readonly string[] {
  const { pid, uptimeMs, links, fingerprint, mailboxMessages, mailboxBytes } = status
  const secured = fingerprint === undefined ? '' : ` with TLS, fingerprint ${printable(fingerprint)}`
  const place = `${printable(addressText(status))}${secured}, data in ${printable(data)}`
  const online = status.online.map((user) => [printable(user)])
  const uploads = status.uploads.map(({ user, name, size, progress, durable }) => [
    printable(user),
    printable(name),
    `${size === 0 ? 100 : Math.floor((100 * progress) / size)} %`,
    formatPart(progress, size),
    `${formatSize(durable)} durable`,
  ])
  const mailboxes = status.mailboxes.map(({ user, messages, bytes }) => [
    printable(user),
    `${messages} of ${counted(mailboxMessages, 'message')}`,
    `${formatSize(bytes)} of ${formatSize(mailboxBytes)}`,
  ])
  return [
    `ospd on ${place}, process ${pid}, up for ${formatTime(uptimeMs)}, ${counted(links, 'link')}`,
    ...list(heading('online'), online, status.moreOnline),
    ...list(heading('uploads'), uploads, status.moreUploads),
    ...(status.problem === undefined
      ? list(heading('mailboxes'), mailboxes, status.moreMailboxes)
      : [`${heading('mailboxes')}: unknown (${printable(status.problem)})`]),
  ]
}

/** Formats a list as `heading: none`, or as rows of aligned cells below the heading. */
function list(heading: string, rows: readonly (readonly string[])[], more: number): readonly string[] {
  if (rows.length === 0) return [`${heading}: none`]
  return [`${heading}:`, ...tableLines(rows, '  '), ...(more > 0 ? [`  and ${more} more`] : [])]
}

const counted = (count: number, one: string) => `${count} ${one}${count === 1 ? '' : 's'}`
