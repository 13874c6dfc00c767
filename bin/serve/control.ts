import { setTimeout } from 'node:timers/promises'
import { type Limits, type Log, type MailboxLevel, OspError, type Server, type ServerStatus } from 'ospd'
import { type ControlSocket, type HandleControl, serveControl } from 'ospd/node'
import * as z from 'zod/mini'
import type { Status, uploadsAnswer } from '../common/events.ts'

/** The requests of other commands to a daemon, through the control socket of its data directory. */
const requests = z.discriminatedUnion('ask', [
  z.strictObject({ ask: z.literal('status') }),
  z.strictObject({ ask: z.literal('uploads') }),
  z.strictObject({
    ask: z.literal('remove-upload'),
    user: z.string(),
    name: z.string(),
    idleMs: z.number().check(z.minimum(0)),
  }),
])

const most = { online: 10_000, uploads: 1_000, mailboxes: 10_000, unfinished: 1_000 } as const

/** The part of a server that the control socket reads. */
export interface ReportedServer extends Pick<Server, 'addresses' | 'mailboxes' | 'unfinished' | 'removeUnfinished'> {
  status(): Omit<ServerStatus, 'gauges'>
}

type MailboxLimits = Pick<Limits, 'mailboxMessages' | 'mailboxBytes'>

/** The maximum time for which a status waits for the mailboxes. */
const mailboxesMs = 2_000

interface StatusOptions {
  readonly limits: MailboxLimits
  /** Returns the fingerprint of the certificate. */
  readonly fingerprint: () => string | undefined
  /** Returns the reason why the storage cannot be used, if it is known. */
  readonly problem?: () => string | undefined
  readonly log: Log
  /** The time between two attempts to create the socket. */
  readonly retryMs?: number
}

/** The control socket of a daemon. While it cannot be created, the daemon runs without it and tries again. */
class DaemonControl implements ControlSocket {
  readonly [Symbol.asyncDispose] = () => this.close()
  readonly #create: () => Promise<ControlSocket>
  readonly #log: Log
  #socket: ControlSocket | undefined
  #hasFailed = false
  #opening: Promise<void> = Promise.resolve()
  readonly #timer: NodeJS.Timeout

  constructor(create: () => Promise<ControlSocket>, log: Log, retryMs: number) {
    this.#create = create
    this.#log = log
    this.#timer = setInterval(() => void this.open(), retryMs).unref()
  }

  /** Resolves when an attempt to create the socket has ended. */
  open(): Promise<void> {
    this.#opening = this.#opening.then(() => this.#open())
    return this.#opening
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#opening
    await this.#socket?.close()
  }

  async #open(): Promise<void> {
    if (this.#socket) return
    try {
      this.#socket = await this.#create()
      clearInterval(this.#timer)
      if (this.#hasFailed) this.#log({ level: 'info', event: 'control-open' })
    } catch (error) {
      const { code, message: text } = OspError.from(error)
      if (!this.#hasFailed) this.#log({ level: 'warn', event: 'no-control', code, text })
      this.#hasFailed = true
    }
  }
}

const retryControlMs = 10_000

/** Opens the control socket of a daemon. Resolves after the first attempt to create it. */
export async function openControl(
  data: string,
  server: ReportedServer,
  options: StatusOptions,
): Promise<ControlSocket> {
  const { log, retryMs = retryControlMs } = options
  const answering = answeringOf(server, options)
  const control = new DaemonControl(() => serveControl(data, answering), log, retryMs)
  await control.open()
  return control
}

function answeringOf(server: ReportedServer, options: StatusOptions): HandleControl {
  const since = performance.now()
  return async (request, reply) => {
    const { success, data: asked } = requests.safeParse(request)
    if (!success)
      throw new OspError('malformed', 'the daemon does not know this request; use the commands of its version')
    if (asked.ask === 'uploads') return reply(await unfinishedOf(server))
    if (asked.ask === 'status') {
      const uptimeMs = Math.round(performance.now() - since)
      return reply({ ...(await statusOf(server, options)), uptimeMs, fingerprint: options.fingerprint() })
    }
    reply({ removed: await server.removeUnfinished(asked.user, asked.name, asked.idleMs) })
  }
}

async function unfinishedOf(server: ReportedServer): Promise<z.infer<typeof uploadsAnswer>> {
  const all = await server.unfinished()
  const uploads = all.slice(0, most.unfinished).map((upload) => ({ ...upload, idleMs: Math.round(upload.idleMs) }))
  return { uploads, more: all.length - uploads.length }
}

async function statusOf(server: ReportedServer, { limits, problem }: StatusOptions): Promise<Omit<Status, 'uptimeMs'>> {
  const { mailboxMessages, mailboxBytes } = limits
  const found = await mailboxesOf(server, problem)
  const levels = [...(found.levels ?? [])].sort((a, b) => fullness(b, limits) - fullness(a, limits))
  const mailboxes = levels.slice(0, most.mailboxes)
  const { links, online: members, uploads: running } = server.status()
  const names = members.map(({ user }) => user).sort()
  const online = names.slice(0, most.online)
  const uploads = running.slice(0, most.uploads)
  const { host = '', port = 0 } = server.addresses[0] ?? {}
  return {
    pid: process.pid,
    host,
    port,
    links,
    online,
    moreOnline: names.length - online.length,
    uploads: uploads.map(({ user, name, size, progress, durable }) => ({ user, name, size, progress, durable })),
    moreUploads: running.length - uploads.length,
    mailboxes: mailboxes.map(({ user, messages, bytes }) => ({ user, messages, bytes })),
    moreMailboxes: levels.length - mailboxes.length,
    mailboxMessages,
    mailboxBytes,
    problem: found.problem,
  }
}

/** Resolves with the mailboxes, or with the reason why they are unknown. */
async function mailboxesOf(
  server: ReportedServer,
  problem: () => string | undefined = () => undefined,
): Promise<{ readonly levels?: readonly MailboxLevel[]; readonly problem?: string }> {
  const over = new AbortController()
  try {
    const late = setTimeout(mailboxesMs, undefined, { signal: over.signal })
    const levels = await Promise.race([server.mailboxes(), late])
    return levels ? { levels } : { problem: problem() ?? `the storage has not responded for ${mailboxesMs / 1_000} s` }
  } catch (error) {
    return { problem: OspError.from(error).message }
  } finally {
    over.abort()
  }
}

/** Returns the used part of a mailbox, by messages or by bytes, whichever is greater. */
function fullness({ messages, bytes }: MailboxLevel, { mailboxMessages, mailboxBytes }: MailboxLimits): number {
  return Math.max(messages / mailboxMessages, bytes / mailboxBytes)
}
