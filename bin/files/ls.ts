import type { Client, FileInfo } from 'ospd'
import { runWithClient } from '../common/client.ts'
import { commonOptions, shortRetryFor } from '../common/commonOptions.ts'
import { results, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import { switched, type Values } from '../common/settings.ts'
import { isTerminal, printable } from '../common/text.ts'
import { formatSize } from '../common/units.ts'
import { unexpectedOperand } from '../common/usage.ts'

const settings = {
  long: switched('also print the size and the modification time', 'l'),
  ...commonOptions,
  'retry-for': shortRetryFor,
} as const

type LsValues = Values<typeof settings>

/** `osp ls`: prints the stored files. */
export const lsCommand = command({
  name: 'ls',
  operands: '[PREFIX]',
  describe: 'Print the names of your files on the server, one per line: all, or those that begin with PREFIX.',
  settings,
  examples: [
    ['osp ls', 'print all names'],
    ['osp ls -l photos/', 'print the files in a folder, with sizes and times'],
    ['osp ls --json', 'print everything that the server knows about each file'],
  ],
  onlyLists: () => true,
  run,
})

async function run(values: LsValues, [prefix = '', more]: readonly string[]): Promise<number> {
  if (more !== undefined) throw unexpectedOperand('ls', more)
  return await runWithClient(values, { run: (client) => print(client, prefix, values) })
}

async function print(client: Client, prefix: string, values: LsValues): Promise<void> {
  const { json, long } = values
  let isEmpty = true
  const shown = isTerminal(process.stdout) ? printable : (name: string) => name
  for await (const file of client.files.list({ prefix })) {
    if (results.broken.aborted) return
    isEmpty = false
    if (json) results.event(eventOf(file))
    else results.line(long ? `${detailsOf(file)}  ${shown(file.name)}` : shown(file.name))
  }
  if (isEmpty) sayEmpty(prefix === '' ? 'there are no files' : `no file has a name that begins with ${prefix}`, values)
}

const sizeWidth = 9

function detailsOf({ size, modifiedAt }: FileInfo): string {
  const time = new Date(modifiedAt).toISOString().slice(0, 16).replace('T', ' ')
  return `${formatSize(size).padStart(sizeWidth)}  ${time}`
}

function eventOf({ modifiedAt, storedAt, algorithm, digest, ...file }: FileInfo) {
  const [modified, stored] = [modifiedAt, storedAt].map((ms) => new Date(ms).toISOString()) as [string, string]
  return { event: 'file', ...file, modified, stored, algorithm: algorithm ?? null, digest: digest ?? null } as const
}
