import type { EventName } from '../../lib/wire/message.ts'
import type { Running } from './processes.ts'
import type { Handed } from './recipients.ts'
import { startSource } from './sources.ts'

/** Instructions for a messaging process, passed as JSON in its only argument. */
export interface MessagingOrders {
  readonly port: number
  readonly user: string
  /** The state directory. */
  readonly state?: string
  readonly sends?: readonly { readonly id: string; readonly recipients: readonly string[]; readonly text: string }[]
  readonly listens?: boolean
  /** Text of the message whose handler never returns. */
  readonly holds?: string
  /** The process kills itself before it sends such a frame, after it has sent one, or when one arrives. */
  readonly dies?: { readonly at: EventName; readonly when: 'sending' | 'sent' | 'coming' }
}

/** A process of a user that sends and receives messages. */
export interface MessagingProcess extends Running {
  /** The messages passed to its handler. */
  readonly handed: readonly Handed[]
  /** Resolves when its handler was called with this text. */
  got(text: string): Promise<unknown>
}

export function startMessagingProcess(orders: MessagingOrders): MessagingProcess {
  const running = startSource('spec/support/messagingProcess.ts', [JSON.stringify(orders)])
  const own = {
    get handed() {
      const lines = running.stdout.split('\n').filter((line) => line.startsWith('handed '))
      return lines.map((line) => JSON.parse(line.slice('handed '.length)) as Handed)
    },
    got: (text: string) => running.printed(new RegExp(`^handed \\{"text":"${text}",.*\n`, 'mu')),
  }
  return Object.defineProperties(own, Object.getOwnPropertyDescriptors(running)) as unknown as MessagingProcess
}
