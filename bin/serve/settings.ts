import type { Limits } from 'ospd'
import {
  count,
  duration,
  oneOf,
  optional,
  path,
  pem,
  port,
  setting,
  size,
  switched,
  text,
  type Values,
} from '../common/settings.ts'
import { limitSettings, limitsOfSettings } from './limitSettings.ts'

/** The settings of `ospd serve`. */
export const serveSettings = {
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
  'max-clients': setting(count, '100', { describe: 'registered clients at most' }),
  'file-instances': setting(count, '200', { describe: 'files received at once at most' }),
  'uploads-per-link': setting(count, '5', { describe: 'uploads at once on one link at most' }),
  'max-recipients': setting(count, '16', { describe: 'recipients of one message at most' }),
  'max-file-size': optional(size, { describe: 'the largest file that is taken; any, where it is not set' }),
  quota: optional(size, {
    describe: "maximum size of one user's files, with --entry-size for each file and folder [no limit]",
  }),
  reserve: optional(size, {
    describe: 'disk space that uploads leave free for messages [64M or 5 % of the disk, whichever is less]',
  }),
  'upload-age': setting(duration, '7d', { describe: 'how long an unfinished upload is kept that nobody goes on with' }),
  'keep-alive': setting(duration, '15s', { describe: 'silence after which a link is probed' }),
  chunk: setting(size, '1M', { describe: 'the largest piece of a file in one request' }),
  window: setting(size, '8M', { describe: 'bytes of an upload that may be unacknowledged' }),
  'checkpoint-size': setting(size, '8M', { describe: 'an upload is flushed to disk after so many bytes …' }),
  'checkpoint-time': setting(duration, '500ms', { describe: '… or so long after the first byte that is not' }),
  insecure: switched({ describe: 'accept other machines without tokens, or with tokens but without TLS' }),
  ...limitSettings,
  quiet: switched({ alias: 'q', describe: 'log only warnings and errors' }),
  json: switched({ describe: 'print results as JSON, one object per line (docs/json.md)' }),
} as const

export type ServeValues = Values<typeof serveSettings>

/** What of them bounds the server. */
export function limitsOf(values: ServeValues): Partial<Limits> {
  return {
    ...limitsOfSettings(values),
    clients: values['max-clients'],
    fileInstances: values['file-instances'],
    uploadsPerLink: values['uploads-per-link'],
    recipients: values['max-recipients'],
    keepAliveMs: values['keep-alive'],
    chunkBytes: values.chunk,
    windowBytes: values.window,
    checkpointBytes: values['checkpoint-size'],
    checkpointMs: values['checkpoint-time'],
    uploadAgeMs: values['upload-age'],
    ...(values['max-file-size'] !== undefined && { fileBytes: values['max-file-size'] }),
    ...(values.reserve !== undefined && { reserveBytes: values.reserve, reservePercent: 100 }),
    ...(values.quota !== undefined && { userBytes: values.quota }),
  }
}
