import type { EventName } from '../../lib/wire/message.ts'
import type { Running } from './processes.ts'
import type { Handed } from './recipients.ts'
import { startSource } from './sources.ts'

/** What a correspondent is told, as JSON, by its only argument. */
export interface Orders {
  readonly port: number
  readonly user: string
  /** The directory that it keeps its state in. */
  readonly state?: string
  readonly sends?: readonly { readonly id: string; readonly recipients: readonly string[]; readonly text: string }[]
  readonly listens?: boolean
  /** The text whose handler never returns. */
  readonly holds?: string
  /** It kills itself about to send such a frame, when that has left, or when one has come that nobody has looked at. */
  readonly dies?: { readonly at: EventName; readonly when: 'sending' | 'sent' | 'coming' }
}

/** A program of a user. */
export interface Correspondent extends Running {
  /** What its handler was called with. */
  readonly handed: readonly Handed[]
  /** Resolves when its handler was called with this text. */
  got(text: string): Promise<unknown>
}

export function correspondent(orders: Orders): Correspondent {
  const running = startSource('spec/support/correspondent.ts', [JSON.stringify(orders)])
  const own = {
    get handed() {
      const lines = running.stdout.split('\n').filter((line) => line.startsWith('handed '))
      return lines.map((line) => JSON.parse(line.slice('handed '.length)) as Handed)
    },
    got: (text: string) => running.printed(new RegExp(`^handed \\{"text":"${text}",.*\n`, 'mu')),
  }
  return Object.defineProperties(own, Object.getOwnPropertyDescriptors(running)) as unknown as Correspondent
}
