import { printable } from '../common/printable.ts'
import { placeText } from '../common/settings.ts'
import type { Style } from '../common/style.ts'
import { formatPart, formatSize, formatTime } from '../common/units.ts'
import { fit, widthOf } from '../common/width.ts'
import type { Status } from './events.ts'

/** A status for people: a line about the daemon, and three lists, each under its heading. */
export function statusLines(status: Status, data: string, heading: Style): readonly string[] {
  const { pid, uptimeMs, links, fingerprint } = status
  const secured = fingerprint === undefined ? '' : ` with TLS, fingerprint ${printable(fingerprint)}`
  const place = printable(placeText(status)) + secured
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
