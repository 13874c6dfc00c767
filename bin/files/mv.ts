import { type Client, OspError } from 'ospd'
import { runWithClient } from '../common/client.ts'
import { commonOptions, shortRetryFor } from '../common/commonOptions.ts'
import { results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { switched, type Values } from '../common/settings.ts'
import { UsageError, unexpectedOperand } from '../common/usage.ts'
import { missingFile, nameOperand } from './names.ts'

const settings = {
  replace: switched('replace a file that has the new name'),
  ...commonOptions,
  'retry-for': shortRetryFor,
} as const

/** `osp mv`: renames a stored file. */
export const mvCommand = command({
  name: 'mv',
  operands: 'OLD NEW',
  describe:
    'Rename one of your files on the server. A folder cannot be renamed. If NEW ends with /, the file is moved into that folder.',
  settings,
  examples: [
    ['osp mv draft.pdf final.pdf', 'rename a file'],
    ['osp mv final.pdf archive/', 'move it to archive/final.pdf'],
  ],
  run,
})

async function run(values: Values<typeof settings>, operands: readonly string[]): Promise<number> {
  const [old, target, more] = operands
  if (old === undefined || target === undefined) throw new UsageError('mv requires two names, OLD and NEW')
  if (more !== undefined) throw unexpectedOperand('mv', more)
  const name = nameOperand(old)
  const newName = nameOperand(target.endsWith('/') ? `${target}${name.split('/').at(-1)}` : target)
  return await runWithClient(values, {
    async run(client) {
      const replaced = await client.files.rename(name, newName, { replace: values.replace }).catch(async (cause) => {
        throw await failureOf(client, name, newName, OspError.from(cause))
      })
      if (values.json) results.event({ event: 'renamed', name, newName, replaced })
    },
  })
}

/** Returns the error to report, with the name that caused it. */
async function failureOf(client: Client, name: string, newName: string, cause: OspError): Promise<OspError> {
  const { code } = cause
  if (code === 'file-exists') {
    return new OspError(code, `${newName}: it already exists on the server; add --replace to replace it`, { cause })
  }
  if (code === 'name-conflict') {
    return new OspError(code, `${name} cannot be renamed to ${newName}: ${cause.message}`, { cause })
  }
  if (code !== 'no-such-file') return cause
  const error = await missingFile(client, name, cause, 'only files can be renamed').catch(OspError.from)
  return error.code === code ? new OspError(code, `${name}: ${error.message}`, { cause }) : error
}
