import type { Message } from 'ospd'
import type { ListenEvent } from '../common/events.ts'
import { printable, type Styles } from '../common/text.ts'

/** Formats a message as a line: time, sender, text. Marks a message that may have been printed before. */
export function messageLine(message: Message, { dim, bold, yellow }: Styles): string {
  const { sentAt, from, attempt } = message
  const again = attempt > 1 ? [yellow('(again?)')] : []
  return [dim(localTime(sentAt)), bold(printable(from)), ...again, printable(message.text())].join(' ')
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Returns the event of a message. */
export function messageEvent({ id, seq, from, sentAt, content, attempt }: Message): ListenEvent {
  const text = textOf(content)
  const rest = text === null ? Buffer.from(content).toString('base64') : null
  const named = { seq, id: Buffer.from(id).toString('hex'), from, sentAt: sentAt.toISOString() }
  return { event: 'message', ...named, attempt, text, content: rest }
}

function textOf(content: Uint8Array): string | null {
  try {
    return strict.decode(content)
  } catch {
    return null
  }
}

/** Formats a date in local time with its offset from UTC, as in ISO 8601: `2026-03-01T12:34:56+01:00`. */
export function localTime(at: Date): string {
  const offset = -at.getTimezoneOffset()
  const local = new Date(at.getTime() + offset * 60_000)
  // The local time of the last representable dates is out of range.
  if (Number.isNaN(local.getTime())) return `${at.toISOString().slice(0, -5)}Z`
  const [hours, minutes] = [Math.trunc(Math.abs(offset) / 60), Math.abs(offset) % 60].map(twoDigits)
  return `${local.toISOString().slice(0, -5)}${offset < 0 ? '-' : '+'}${hours}:${minutes}`
}

const twoDigits = (number: number) => String(number).padStart(2, '0')
