/** What `ospd serve` itself logs, besides the lines of the server; `docs/log.md` is printed from it. */
export const daemonEvents = {
  stopping: { level: 'info', fields: ['signal'], says: 'The daemon was told to end, and does so cleanly.' },
  stopped: { level: 'info', fields: [], says: 'The daemon has ended.' },
  'no-control': {
    level: 'warn',
    fields: ['code', 'text'],
    says: 'There is no control socket: `ospd status` does not reach this daemon.',
  },
  insecure: {
    level: 'warn',
    fields: ['text'],
    says: 'Other machines reach this daemon in a way that only `--insecure` allows.',
  },
  'tls-reloaded': {
    level: 'info',
    fields: ['fingerprint'],
    says: 'At SIGHUP certificate and key were read again, and new links are shown them.',
  },
  'tls-not-reloaded': {
    level: 'error',
    fields: ['text'],
    says: 'At SIGHUP they could not be used: new links are shown those from before.',
  },
} as const
