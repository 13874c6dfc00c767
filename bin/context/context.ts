import type { Contexts } from 'ospd/node'
import { commonOptions } from '../common/commonOptions.ts'
import { contextsIn, tokenOf } from '../common/context.ts'
import { results, say, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import type { Values } from '../common/settings.ts'
import { printable, tableLines } from '../common/text.ts'
import { exitCodes, UsageError, unexpectedOperand, unknownName } from '../common/usage.ts'

const { state, quiet, json } = commonOptions
const settings = { state, quiet, json } as const

type ContextValues = Values<typeof settings>

const verbs = ['ls', 'use', 'rm']

/** `osp context`: lists, selects and removes the contexts that `osp login` has stored. */
export const contextCommand = command({
  name: 'context',
  operands: '[ls|use|rm] [NAME...]',
  describe:
    'List and manage contexts. osp login stores the server, the user, the token and the TLS settings as a context, ' +
    'USER@HOST:PORT. Commands use the current context for settings that are not specified, unless another server is specified.',
  settings,
  examples: [
    ['osp context', 'list the contexts; the current one has an asterisk'],
    ['osp context use alice@files.example:6682', 'use this server and user from now on'],
    ['osp context rm alice@files.example:6682', 'remove a context and its token'],
  ],
  onlyLists: ([verb = 'ls']) => verb === 'ls',
  run,
})

async function run(values: ContextValues, [verb = 'ls', ...names]: readonly string[]): Promise<number> {
  if (!verbs.includes(verb)) throw new UsageError(unknownName('verb', verb, verbs))
  const [name, more] = names
  if (verb === 'ls') {
    if (name !== undefined) throw unexpectedOperand('context ls', name)
    return await list(values)
  }
  if (name === undefined) throw new UsageError(`context ${verb} requires the NAME of a context`)
  if (verb === 'use' && more !== undefined) throw unexpectedOperand('context use', more)
  // Names are checked before the first one is removed.
  const contexts = contextsIn(values).load()
  const { all } = contexts
  const unknown = names.find((each) => !all.has(each))
  if (unknown !== undefined) throw new UsageError(unknownName('context', unknown, [...all.keys()]))
  if (verb === 'use') await use(values, name)
  else await removeAll(values, contexts, new Set(names))
  return exitCodes.done
}

async function list(values: ContextValues): Promise<number> {
  const { current, all } = contextsIn(values).load()
  if (all.size === 0) sayEmpty('there is no context; osp login creates one', values)
  const cells = [...all].map(([name, context]) => [
    name === current ? '*' : ' ',
    printable(name),
    context.tls ? 'TLS' : 'without TLS',
  ])
  const lines = tableLines(cells)
  for (const [at, [name, { server, user, tls }]] of [...all].entries()) {
    const event = { event: 'context', name, server, user, tls, current: name === current } as const
    await results.printed(event, lines[at] ?? '')
  }
  return exitCodes.done
}

async function use(values: ContextValues, name: string): Promise<void> {
  await contextsIn(values).select(name)
  results.print({ event: 'context-used', name }, `${printable(name)} is the current context`)
}

/** Removes contexts. If the current one is removed, says what to do. */
async function removeAll(values: ContextValues, { current, all }: Contexts, names: ReadonlySet<string>): Promise<void> {
  for (const name of names) await remove(values, name)
  if (current === undefined || !names.has(current) || values.quiet || values.json) return
  const next = all.size > names.size ? 'run "osp context use NAME" or "osp login"' : 'run "osp login"'
  say(`no context is selected now, so commands use the default server; ${next} to select one`, 'yellow')
}

async function remove(values: ContextValues, name: string): Promise<void> {
  const context = contextsIn(values).load().all.get(name)
  // The token is removed first: no removed context leaves a token behind.
  if (context) await tokenOf(values, context)?.forget()
  await contextsIn(values).remove(name)
  results.print({ event: 'context-removed', name }, `${printable(name)} removed`)
}
