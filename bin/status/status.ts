import { OspError } from 'ospd'
import { askControl } from 'ospd/node'
import { exitCodes } from '../common/exitCodes.ts'
import { checkDirectory } from '../common/files.ts'
import { errorLine, results } from '../common/output.ts'
import { printable } from '../common/printable.ts'
import { command } from '../common/program.ts'
import { path, setting, switched, type Values } from '../common/settings.ts'
import { stylesFor } from '../common/style.ts'
import { surplus } from '../common/usage.ts'
import { type Status, type StatusEvent, statusEvents } from './events.ts'
import { statusLines } from './lines.ts'

const settings = {
  data: setting(path, './ospd-data', { describe: 'the data directory of the daemon' }),
  json: switched({ describe: 'print JSON on stdout, one object a line (docs/json.md)' }),
} as const

type StatusValues = Values<typeof settings>

/** `ospd status`: prints how a running daemon fares. */
export const statusCommand = command({
  name: 'status',
  operands: '',
  describe: 'Print who is online, which uploads run and how full the mailboxes are.',
  settings,
  examples: [
    ['ospd status', 'of the daemon that has ./ospd-data'],
    ['ospd status --data /srv/ospd --json | jq .uploads', 'for programs'],
  ],
  onlyLists: () => true,
  run,
})

async function run({ data, json }: StatusValues, operands: readonly string[]): Promise<number> {
  const [operand] = operands
  if (operand !== undefined) throw surplus('status', operand)
  await checkDirectory('--data', data, 'exists')
  const status = await ask(data).catch(noDaemon)
  if (!status) {
    errorLine(`ospd: no ospd is running with its data in ${printable(data)}`)
    return exitCodes.unreachable
  }
  const event: StatusEvent = { event: 'status', ...status }
  if (json) results.event(event)
  else for (const line of statusLines(status, data, stylesFor(process.stdout).bold)) results.line(line)
  return exitCodes.done
}

async function ask(data: string): Promise<Status> {
  const answer = statusEvents.status.safeParse(await askControl(data, { ask: 'status' }))
  if (answer.success) return answer.data
  throw new OspError('malformed', `the daemon that has ${printable(data)} is of another version; use its own "status"`)
}

/** That nobody is there is no more than that, whatever the system calls it; other errors are thrown on. */
function noDaemon(error: unknown): undefined {
  if (!isAbsence(error)) throw error
}

/** Whether an error of `askControl` says that no daemon is there. */
export function isAbsence(error: unknown): boolean {
  return error instanceof OspError && error.code === 'unreachable' && absences.has(errnoOf(error.cause))
}

const absences = new Set(['ENOENT', 'ENOTDIR', 'ECONNREFUSED'])

const errnoOf = (cause: unknown) => (cause as NodeJS.ErrnoException | undefined)?.code ?? ''
