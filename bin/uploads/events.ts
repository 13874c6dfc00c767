import { z } from 'zod'

const user = z.string().describe('the user whose upload it is')
const name = z.string().describe('its name')
const bytes = z.int().min(0)

const upload = z.strictObject({
  user,
  name,
  size: bytes.describe('bytes that the file has'),
  durable: bytes.describe('leading bytes that are durable'),
  diskBytes: bytes.describe('bytes of the disk that it takes'),
  idleMs: z.int().min(0).describe('milliseconds since its client went on with it last'),
  running: z.boolean().describe('whether a client is sending it now'),
})

/** What `ospd uploads --json` prints, without `v`; docs/json.md is checked against it. */
export const uploadsEvents = {
  upload: upload.describe('An unfinished upload, the longest idle first.'),
  removed: z.strictObject({ user, name }).describe('An unfinished upload was removed.'),
} as const

export type RemovedEvent = { readonly event: 'removed' } & z.infer<typeof uploadsEvents.removed>

export type ShownUpload = Readonly<z.infer<typeof upload>>

/** What a daemon answers when it is asked for its unfinished uploads: the longest idle ones, and how many more there are. */
export const uploadsAnswer = z.strictObject({ uploads: z.array(upload), more: z.int().min(0) })

/** What it answers when it is to remove one. */
export const removedAnswer = z.strictObject({ removed: z.boolean() })
