import { EventEmitter } from 'eventemitter3'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Client } from '../../lib/client/client.ts'
import type { Storage } from '../../lib/ports/storage.ts'
import { decodeBody } from '../../lib/wire/messageBody.ts'
import { textOf } from './messageClient.ts'
import { until } from './until.ts'

/** A message as its handler received it. */
export interface Handed {
  readonly text: string
  readonly from: string
  readonly seq: number
  readonly attempt: number
}

/** Receives and keeps the messages of a client. */
export class Recipient extends EventEmitter<{ handed: [] }> implements AsyncDisposable {
  readonly client: Client
  readonly handed: Handed[] = []

  constructor(client: Client) {
    super()
    this.client = client
    client.receive((message) => {
      const { from, seq, attempt } = message
      this.handed.push({ text: message.text(), from, seq, attempt })
      this.emit('handed')
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.client.close()
  }

  get texts(): string[] {
    return this.handed.map(({ text }) => text)
  }

  /** Resolves when this text was received. */
  got(text: string): Promise<void> {
    return until(this, 'handed', () => this.handed.some((one) => one.text === text))
  }
}

/** Resolves when all of these users are on the online list of a client. */
export async function areOnline({ presence }: Client, users: readonly string[]): Promise<void> {
  const are = () => users.every((user) => presence.has(user))
  await Promise.race([until(presence, 'change', are), until(presence, 'whole', are)])
}

/** Returns the messages waiting in a mailbox, in order. */
export interface Waiting {
  readonly seq: number
  readonly text: string
}

/** Returns the messages in the mailboxes of a data directory, which no server may have open. */
export async function mailboxesIn(data: string, users: readonly string[]): Promise<Map<string, readonly Waiting[]>> {
  await using storage = disk(data)
  await storage.open(nodePlatform())
  const boxes = new Map<string, readonly Waiting[]>()
  for (const user of users) {
    const messages = await storage.mailboxes.read(user, 0, 10_000, Number.MAX_SAFE_INTEGER)
    boxes.set(
      user,
      messages.map(({ seq, content }) => ({ seq, text: textOf(decodeBody(content).content) })),
    )
  }
  return boxes
}

/** Resolves when no message waits in any mailbox of a storage that a server has open. */
export async function allTaken({ mailboxes }: Storage): Promise<void> {
  while ((await mailboxes.levels()).length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
}
