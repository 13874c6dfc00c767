import { oneOf, optional, path, pem, port, setting, switched, text, type Values } from '../common/settings.ts'
import { limitSettings } from './limitSettings.ts'

const ownSettings = {
  host: setting(text, '127.0.0.1', { describe: 'address to listen on' }),
  port: setting(port, '6682', { describe: 'port to listen on; 0 selects a free port' }),
  data: setting(path, './ospd-data', { describe: 'directory for files, messages and users' }),
  tls: optional(oneOf('auto'), {
    describe: 'use TLS, with a key and a self-signed certificate that are created in the data directory',
    unset: 'no TLS',
  }),
  'tls-cert': optional(pem, { describe: 'use TLS with the certificate in FILE' }),
  'tls-key': optional(pem, { describe: 'private key of --tls-cert' }),
  'tls-client-ca': optional(pem, {
    describe: 'request a certificate from each client, and accept those of the authority in FILE',
  }),
  'on-conflict': setting(oneOf('replace', 'rename', 'reject'), 'replace', {
    describe: 'action if a file of the same name is already stored',
  }),
  insecure: switched({ describe: 'accept other machines without tokens, or with tokens but without TLS' }),
  quiet: switched({ alias: 'q', describe: 'log only warnings and errors' }),
  json: switched({ describe: 'print results as JSON, one object per line (docs/json.md)' }),
} as const

/** The settings of `ospd serve`: its own, and the flags of the limits, which `limitsOf` reads. */
export const serveSettings: typeof ownSettings = { ...ownSettings, ...limitSettings }

export type ServeValues = Values<typeof ownSettings>
