import { z } from 'zod'

/** What `ospd serve --json` prints, without `v`; docs/json.md is checked against it. */
export const serveEvents = {
  ready: z
    .strictObject({
      host: z.string().describe('the address it listens at'),
      port: z.int().describe('the port it listens at, the true one where `--port 0` was asked for'),
      data: z.string().describe('the data directory, as it was given'),
      fingerprint: z
        .string()
        .optional()
        .describe("with TLS, of the certificate's public key: `SHA256:` and the base64 of its SHA-256; else absent"),
    })
    .describe('The daemon can be used.'),
} as const

export type ReadyEvent = { readonly event: 'ready' } & z.infer<typeof serveEvents.ready>
