import { runErrand } from '../common/errand.ts'
import { checkStdout } from '../common/output.ts'
import { command } from '../common/program.ts'
import { surplus } from '../common/usage.ts'
import { Listening } from './listening.ts'
import { type ListenValues, listenSettings } from './settings.ts'

/** `osp listen`: prints the messages of a user. */
export const listenCommand = command({
  name: 'listen',
  operands: '',
  describe: 'Print the messages that wait, and those that come, until Ctrl-C.',
  settings: listenSettings,
  examples: [
    ['osp listen', 'a line for each message: time, sender, text'],
    ['osp listen --count 1', 'wait for one message'],
    ['osp listen --json | jq -r .text', 'for programs'],
  ],
  run,
})

async function run(values: ListenValues, operands: readonly string[]): Promise<number> {
  const [operand] = operands
  if (operand !== undefined) throw surplus('listen', operand)
  checkStdout('messages')
  const listening = new Listening(values)
  const state = await listening.openState()
  return await runErrand(values, { state, log: listening.log, run: (errand) => listening.run(errand) })
}
