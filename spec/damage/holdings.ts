import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Upload } from '../../lib/client/uploads/upload.ts'
import { type Client, createClient, OspError } from '../../lib/index.ts'
import { tcp } from '../../lib/node.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { until } from '../support/until.ts'

/** A file of a user, generated from its length and seed. */
export interface Item {
  readonly user: string
  readonly name: string
  readonly bytes: number
  readonly seed: number
  /** Durable bytes of an unfinished file; default: some. */
  readonly durable?: number
}

/** The acknowledged files and messages of the users of a data directory. */
export interface Holdings {
  /** By user. */
  readonly tokens: Map<string, string>
  readonly stored: Item[]
  /** Uploads of which the server has reported some bytes as durable. */
  readonly unfinished: Item[]
  /** Texts waiting for each recipient, in order. */
  readonly waiting: Map<string, string[]>
  /** Texts that may be delivered in addition. */
  readonly possible?: ReadonlySet<string>
}

const contentOf = ({ bytes, seed }: Item): Uint8Array => patterned(bytes, seed)

const pathOf = (data: string, { user, name }: Item): string => join(data, 'files', user, name)

/** How a client of the holdings reaches a server. */
export interface Reach {
  readonly port: number
  /** Another transport than TCP. */
  readonly to?: Transport
}

/** Creates a client of one of the users. */
export function clientOf({ tokens }: Holdings, user: string, { port, to = tcp({ port }) }: Reach): Client {
  const token = tokens.get(user)
  return createClient(to, { user, retryForMs: 60_000, ...(token !== undefined && { token: async () => token }) })
}

/** Sends a file, and records it as stored when it is acknowledged. */
export async function store(client: Client, item: Item, holdings: Holdings): Promise<void> {
  const upload = await client.upload(memorySource(item.name, contentOf(item)))
  await upload.done
  holdings.stored.push(item)
}

/** Sends the first part of a file. Resolves, when some of it is durable, with a function that ends the upload. */
export async function storePartly(client: Client, item: Item, holdings: Holdings): Promise<() => void> {
  let end = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const source = memorySource(item.name, contentOf(item))
  const upload = await client.upload(source)
  upload.done.catch(() => {})
  // The server reports the durable bytes when it acknowledges the next chunk.
  source.beforeRead = async (offset) => {
    if (upload.progress.durable > 0) await ended
    else if (offset > item.bytes / 4) await pause(20)
  }
  await until(upload, 'progress', () => upload.progress.durable > 0)
  holdings.unfinished.push(item)
  return end
}

/** Sends a message, and records it as waiting when it is acknowledged as stored. */
export async function say(client: Client, to: readonly string[], text: string, { waiting }: Holdings): Promise<void> {
  await client.send(to, text)
  for (const user of to) waiting.set(user, [...(waiting.get(user) ?? []), text])
}

/** Differences from what was acknowledged. */
export interface Differences {
  /** Lost items, each with its user and name. */
  readonly lost: string[]
  /** Violations: other contents, duplicates, items that no client sent. */
  readonly wrong: string[]
}

/** Compares the data of a server that has started from a data directory with the acknowledged data. */
export async function differences(data: string, holdings: Holdings, reach: Reach): Promise<Differences> {
  const found: Differences = { lost: [], wrong: [] }
  const clients = new Map<string, Client>()
  const barred = new Set<string>()
  try {
    for (const user of holdings.tokens.keys()) {
      const client = clientOf(holdings, user, reach)
      clients.set(user, client)
      const refusal = await refusalOf(client)
      if (refusal === undefined) continue
      barred.add(user)
      found.lost.push(`the user ${user} (${refusal})`)
    }
    const isIn = ({ user }: Item) => !barred.has(user)
    const client = (user: string) => clients.get(user) as Client
    await Promise.all([
      ...holdings.stored.filter(isIn).map((item) => checkStored(data, item, client(item.user), found)),
      ...holdings.unfinished.filter(isIn).map((item) => checkUnfinished(data, item, client(item.user), found)),
      checkMessages(holdings, clients, barred, found),
    ])
  } finally {
    for (const client of clients.values()) await client.close()
  }
  return found
}

/** Resolves when a client is online, or with the code with which it is first refused. */
function refusalOf(client: Client): Promise<string | undefined> {
  return new Promise((resolve) => {
    client.on('status', (status, error) => {
      if (status === 'waiting' || status === 'closed') resolve(error?.code ?? status)
    })
    client.online().then(
      () => resolve(undefined),
      (error: unknown) => resolve(OspError.from(error).code),
    )
  })
}

async function sent(item: Item, client: Client): Promise<Upload> {
  const upload = await client.upload(memorySource(item.name, contentOf(item)))
  await upload.done
  return upload
}

const isWhole = (data: string, item: Item) => {
  try {
    return Buffer.compare(readFileSync(pathOf(data, item)), contentOf(item)) === 0
  } catch {
    return false
  }
}

async function checkStored(data: string, item: Item, client: Client, found: Differences): Promise<void> {
  const what = `${item.user}/${item.name}`
  if (!isWhole(data, item)) found.lost.push(`the stored file ${what}`)
  try {
    const { transferred } = await sent(item, client)
    if (transferred > 0) found.lost.push(`the note of ${what}`)
  } catch (error) {
    found.wrong.push(`${what} cannot be sent again: ${error}`)
  }
}

async function checkUnfinished(data: string, item: Item, client: Client, found: Differences): Promise<void> {
  const what = `${item.user}/${item.name}`
  const { durable = 1 } = item
  // A published upload whose client was not informed has no progress any more.
  const isPublished = isWhole(data, item)
  try {
    const { transferred } = await sent(item, client)
    if (!isPublished && durable > 0 && durable < item.bytes && transferred > item.bytes - durable)
      found.lost.push(`the progress of ${what}`)
    if (!isWhole(data, item)) found.wrong.push(`${what} has other bytes than were sent`)
  } catch (error) {
    found.wrong.push(`${what} cannot be continued: ${error}`)
  }
}

const last = 'the last one'

/** No message overtakes another one in a mailbox: a recipient with the last message has received all of them. */
async function checkMessages(
  { waiting, possible }: Holdings,
  clients: ReadonlyMap<string, Client>,
  barred: ReadonlySet<string>,
  found: Differences,
): Promise<void> {
  const recipients = [...waiting.keys()].filter((user) => !barred.has(user))
  const sender = [...clients].find(([user]) => !barred.has(user))?.[1]
  if (!sender || recipients.length === 0) return
  await sender.send(recipients, last)
  await Promise.all(
    recipients.map(async (user) => {
      const texts = await textsUntilLast(clients.get(user) as Client)
      const expected = waiting.get(user) ?? []
      for (const text of expected) if (!texts.includes(text)) found.lost.push(`the message "${text}" to ${user}`)
      found.wrong.push(...surplusOf(user, texts, new Set([...expected, ...(possible ?? [])])))
      for (const from of clients.keys()) {
        const [came, sent] = inOneOrder(`${from} `, texts, expected)
        if (came !== sent) found.wrong.push(`${user} is handed ${came}, not ${sent}`)
      }
    }),
  )
}

/** Returns the texts that arrived twice, or were not sent to this user. */
function surplusOf(user: string, texts: readonly string[], sent: ReadonlySet<string>): string[] {
  return texts.flatMap((text, at) => {
    if (texts.indexOf(text) < at) return [`${user} is handed "${text}" twice`]
    return sent.has(text) ? [] : [`${user} is handed "${text}"`]
  })
}

/** Returns the texts with this prefix that are in both lists, in the order of each. */
function inOneOrder(prefix: string, one: readonly string[], other: readonly string[]): readonly [string, string] {
  const ordered = (texts: readonly string[], others: readonly string[]) =>
    texts.filter((text) => text.startsWith(prefix) && others.includes(text)).join(', ')
  return [ordered(one, other), ordered(other, one)]
}

function textsUntilLast(client: Client): Promise<string[]> {
  const texts: string[] = []
  return new Promise((resolve) => {
    client.receive((message) => {
      if (message.text() === last) resolve(texts)
      else texts.push(message.text())
    })
  })
}
