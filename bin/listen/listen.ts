import { OspError } from 'ospd'
import { stateDirectory } from 'ospd/node'
import { type Errand, runErrand } from '../common/errand.ts'
import { everywhere } from '../common/everywhere.ts'
import { jsonLine } from '../common/output.ts'
import { command } from '../common/program.ts'
import { count, optional, type Values } from '../common/settings.ts'
import { stateDirectoryOf } from '../common/stateDirectory.ts'
import { stylesFor } from '../common/style.ts'
import { UsageError } from '../common/usage.ts'
import { userOf } from '../common/userOf.ts'
import { messageEvent, messageLine } from './messageLine.ts'

const settings = {
  count: optional(count, { alias: 'n', describe: 'end after so many messages' }),
  ...everywhere,
} as const

/** `osp listen`: prints the messages of a user. */
export const listenCommand = command({
  name: 'listen',
  operands: '',
  describe: 'Print the messages that wait, and those that come, until Ctrl-C.',
  settings,
  examples: [
    ['osp listen', 'a line for each message: time, sender, text'],
    ['osp listen --count 1', 'wait for one message'],
    ['osp listen --json | jq -r .text', 'for programs'],
  ],
  run,
})

async function run(values: Values<typeof settings>, operands: readonly string[]): Promise<number> {
  if (operands.length > 0) throw new UsageError(`listen takes no operand such as ${operands[0]}`)
  const state = stateDirectory(stateDirectoryOf(values, userOf(values)))
  return await runErrand(values, { state, run: (errand) => listen(values, errand) })
}

async function listen(values: Values<typeof settings>, { client, results, interrupted }: Errand): Promise<void> {
  const styles = stylesFor(process.stdout)
  let printed = 0
  const receiver = client.receive(async (message) => {
    const line = values.json ? jsonLine(messageEvent(message)) : messageLine(message, styles)
    if (!(await results.written(line))) {
      void receiver[Symbol.asyncDispose]()
      throw new Error('the message was not printed')
    }
    if (++printed === values.count) void receiver[Symbol.asyncDispose]()
  })
  await receiver.finished
  if (interrupted.aborted && printed !== values.count) throw new OspError('closed', 'listening was interrupted')
}
