import type { Message } from 'ospd'
import { printable } from '../common/printable.ts'
import type { Styles } from '../common/style.ts'
import type { ListenEvent } from './events.ts'
import { localTime } from './localTime.ts'

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
