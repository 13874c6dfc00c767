import { z } from 'zod'

/** What `ospd serve --json` prints, without `v`; docs/json.md is checked against it. */
export const serveEvents = {
  ready: z
    .strictObject({
      host: z.string().describe('the address it listens at'),
      port: z.int().describe('the port it listens at, the true one where `--port 0` was asked for'),
      data: z.string().describe('the data directory, as it was given'),
    })
    .describe('The daemon can be used.'),
} as const

export type ReadyEvent = { readonly event: 'ready' } & z.infer<typeof serveEvents.ready>
