import { type Limits, type MailboxLevel, OspError, type Server, type ServerStatus } from 'ospd'
import { type ControlSocket, serveControl } from 'ospd/node'
import { z } from 'zod'
import type { Status, uploadsAnswer } from '../common/events.ts'

/** The requests of other commands to a daemon, through the control socket of its data directory. */
const requests = z.discriminatedUnion('ask', [
  z.strictObject({ ask: z.literal('status') }),
  z.strictObject({ ask: z.literal('uploads') }),
  z.strictObject({ ask: z.literal('remove-upload'), user: z.string(), name: z.string(), idleMs: z.number().min(0) }),
])

/** The maximum number of entries of each list in a reply. */
const most = { online: 10_000, uploads: 1_000, mailboxes: 10_000, unfinished: 1_000 } as const

/** The part of a server that the control socket reads. */
export interface ReportedServer extends Pick<Server, 'addresses' | 'mailboxes' | 'unfinished' | 'removeUnfinished'> {
  status(): Omit<ServerStatus, 'gauges'>
}

export type MailboxLimits = Pick<Limits, 'mailboxMessages' | 'mailboxBytes'>

/**
 * Opens the control socket of a daemon. `fingerprint` returns that of its certificate, with TLS. Rejects as `serveControl`
 * does.
 */
export function openControl(
  data: string,
  server: ReportedServer,
  limits: MailboxLimits,
  fingerprint: () => string | undefined,
): Promise<ControlSocket> {
  const since = performance.now()
  return serveControl(data, async (request, reply) => {
    const { success, data: asked } = requests.safeParse(request)
    if (!success) throw new OspError('malformed', 'the daemon does not know this request; use commands of its version')
    if (asked.ask === 'uploads') return reply(await unfinishedOf(server))
    if (asked.ask === 'remove-upload') {
      const { user, name, idleMs } = asked
      return reply({ removed: await server.removeUnfinished(user, name, idleMs) })
    }
    reply({ ...(await statusOf(server, limits, performance.now() - since)), fingerprint: fingerprint() })
  })
}

async function unfinishedOf(server: ReportedServer): Promise<z.infer<typeof uploadsAnswer>> {
  const all = await server.unfinished()
  const uploads = all.slice(0, most.unfinished).map((upload) => ({ ...upload, idleMs: Math.round(upload.idleMs) }))
  return { uploads, more: beyond(all, most.unfinished) }
}

async function statusOf(server: ReportedServer, limits: MailboxLimits, uptimeMs: number): Promise<Status> {
  const mailboxes = [...(await server.mailboxes())].sort((a, b) => fullness(b, limits) - fullness(a, limits))
  const { links, online, uploads } = server.status()
  const { host = '', port = 0 } = server.addresses[0] ?? {}
  return {
    pid: process.pid,
    host,
    port,
    uptimeMs: Math.round(uptimeMs),
    links,
    online: online
      .map(({ user }) => user)
      .sort()
      .slice(0, most.online),
    moreOnline: beyond(online, most.online),
    uploads: uploads
      .slice(0, most.uploads)
      .map(({ user, name, size, progress, durable }) => ({ user, name, size, progress, durable })),
    moreUploads: beyond(uploads, most.uploads),
    mailboxes: mailboxes.slice(0, most.mailboxes).map(({ user, messages, bytes }) => ({ user, messages, bytes })),
    moreMailboxes: beyond(mailboxes, most.mailboxes),
    mailboxMessages: limits.mailboxMessages,
    mailboxBytes: limits.mailboxBytes,
  }
}

const beyond = (all: readonly unknown[], most: number) => Math.max(0, all.length - most)

/** Returns the used part of a mailbox, by messages or by bytes, whichever is greater. */
function fullness({ messages, bytes }: MailboxLevel, { mailboxMessages, mailboxBytes }: MailboxLimits): number {
  return Math.max(messages / mailboxMessages, bytes / mailboxBytes)
}
