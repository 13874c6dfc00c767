import { type Client, type FileInfo, OspError } from 'ospd'
import { runWithClient } from '../common/client.ts'
import { commonOptions, shortRetryFor } from '../common/commonOptions.ts'
import { results, say } from '../common/output.ts'
import { command } from '../common/program.ts'
import { switched, type Values } from '../common/settings.ts'
import { exitCodeOf, exitCodes, UsageError } from '../common/usage.ts'
import { filesBelow, missingFile, nameOperand } from './names.ts'

const settings = {
  recursive: switched('remove folders and all files below them', 'r'),
  ...commonOptions,
  'retry-for': shortRetryFor,
} as const

type RmValues = Values<typeof settings>

/** `osp rm`: removes stored files. */
export const rmCommand = command({
  name: 'rm',
  operands: 'NAME...',
  describe: 'Remove your files from the server. A file that is replaced meanwhile is kept.',
  settings,
  examples: [
    ['osp rm movie.mp4', 'remove one file'],
    ['osp rm -r photos', 'remove a folder'],
  ],
  run,
})

async function run(values: RmValues, operands: readonly string[]): Promise<number> {
  if (operands.length === 0) throw new UsageError('rm requires at least one NAME')
  const names = operands.map((operand) => nameOperand(values.recursive ? operand.replace(/\/+$/u, '') : operand))
  let worst: number = exitCodes.done
  const code = await runWithClient(values, {
    async run(client) {
      for (const name of names) worst = Math.max(worst, await removed(client, name, values))
    },
    // As JSON, the event of the file has reported it.
    ...(values.json && { failed() {} }),
  })
  return code || worst
}

/** Removes the files that an operand names. Resolves with the exit code. Rejects if the command cannot continue. */
async function removed(client: Client, name: string, { recursive, json }: RmValues): Promise<number> {
  try {
    for await (const file of filesOf(client, name, recursive)) {
      await client.files.remove(file.name, { version: file.version })
      if (json) results.event({ event: 'removed', name: file.name })
    }
    return exitCodes.done
  } catch (cause) {
    const error = await missingFile(client, name, OspError.from(cause), 'add -r to remove its contents').catch(
      OspError.from,
    )
    if (error.code === 'closed') throw error
    const code = exitCodeOf(error)
    const ends = code !== exitCodes.failed && code !== exitCodes.later
    const { message: text, retry } = error
    if (json) results.event({ event: 'failed', name, code: error.code, text, retry })
    else if (!ends) say(`${name}: ${text}`, 'red')
    if (ends) throw error
    return code
  }
}

async function* filesOf(client: Client, name: string, recursive: boolean): AsyncGenerator<FileInfo> {
  let found = 0
  if (recursive) {
    for await (const file of filesBelow(client, name)) {
      found++
      yield file
    }
  }
  if (found === 0) yield await client.files.stat(name)
}
