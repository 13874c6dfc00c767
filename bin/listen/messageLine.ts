import type { Message } from 'ospd'
import type { ListenEvent } from '../common/events.ts'
import { printable, type Styles } from '../common/text.ts'

/** A message for people: time, sender, text. One that was perhaps printed before is marked. */
export function messageLine(message: Message, { dim, bold, yellow }: Styles): string {
  const { sentAt, from, attempt } = message
  const again = attempt > 1 ? [yellow('(again?)')] : []
  return [dim(localTime(sentAt)), bold(printable(from)), ...again, printable(message.text())].join(' ')
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A message as an event. */
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

/** A moment in local time with its offset from UTC, after ISO 8601: `2026-03-01T12:34:56+01:00`. */
export function localTime(at: Date): string {
  const offset = -at.getTimezoneOffset()
  const local = new Date(at.getTime() + offset * 60_000)
  // A moment at the very end of what a Date can hold has no local time.
  if (Number.isNaN(local.getTime())) return `${at.toISOString().slice(0, -5)}Z`
  const [hours, minutes] = [Math.trunc(Math.abs(offset) / 60), Math.abs(offset) % 60].map(twoDigits)
  return `${local.toISOString().slice(0, -5)}${offset < 0 ? '-' : '+'}${hours}:${minutes}`
}

const twoDigits = (number: number) => String(number).padStart(2, '0')
