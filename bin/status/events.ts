import { z } from 'zod'

const user = z.string().describe('the name')
const bytes = z.int().min(0)

const uploads = z.strictObject({ user, name: z.string(), size: bytes, progress: bytes, durable: bytes })
const mailboxes = z.strictObject({ user, messages: z.int().min(0), bytes })
const more = z.int().min(0)

/** What `ospd status --json` prints, without `v`; docs/json.md is checked against it. */
export const statusEvents = {
  status: z
    .strictObject({
      pid: z.int().describe("the number of the daemon's process"),
      host: z.string().describe('the address it listens at'),
      port: z.int().describe('the port it listens at'),
      fingerprint: z
        .string()
        .optional()
        .describe("with TLS, of the certificate's public key: `SHA256:` and the base64 of its SHA-256; else absent"),
      uptimeMs: z.int().min(0).describe('milliseconds since it could be used'),
      links: z.int().min(0).describe('clients that are connected'),
      online: z.array(user).describe('who is online: whose messages are read now; sorted, 10,000 at most'),
      moreOnline: more.describe('how many more are online than stand there'),
      uploads: z
        .array(uploads)
        .describe(
          'those that run, each with its `user`, `name`, `size`, `progress` (leading bytes written) and `durable` (of ' +
            'them, those that survive a crash); 1,000 at most',
        ),
      moreUploads: more.describe('how many more run than stand there'),
      mailboxes: z
        .array(mailboxes)
        .describe(
          'those in which something waits, the fullest first, each with its `user`, `messages` and `bytes`; 10,000 at most',
        ),
      moreMailboxes: more.describe('how many more there are than stand there'),
      mailboxMessages: z.int().describe('messages that one mailbox holds at most'),
      mailboxBytes: z.int().describe('bytes of messages that one mailbox holds at most'),
    })
    .describe('How the daemon fares.'),
} as const

export type Status = Readonly<z.infer<typeof statusEvents.status>>
export type StatusEvent = { readonly event: 'status' } & Status
