/** What `ospd serve` itself logs, besides the lines of the server; `docs/log.md` is printed from it. */
export const daemonEvents = {
  stopping: { level: 'info', fields: ['signal'], says: 'The daemon was told to end, and does so cleanly.' },
  stopped: { level: 'info', fields: [], says: 'The daemon has ended.' },
  'no-control': {
    level: 'warn',
    fields: ['code', 'text'],
    says: 'There is no control socket: `ospd status` does not reach this daemon.',
  },
} as const
