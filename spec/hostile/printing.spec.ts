import assert from 'node:assert/strict'
import { numberOf } from '../../lib/errors.ts'
import { registFlags, rosterChange, rosterKind } from '../../lib/wire/protocol.ts'
import { type Outcome, place, run } from '../support/commands.ts'
import { type Act, type HostileServer, hostileServer, nack, type ReceivedRequest } from '../support/hostileServer.ts'
import { assertPrintable, containsHostileText, hostileText } from '../support/hostileText.ts'
import { bodyOf } from '../support/messageClient.ts'
import { spec } from '../support/spec.ts'
import { startOnTerminal, terminals } from '../support/terminal.ts'

const members = [{ change: rosterChange.here, node: 1, userName: 'bob' }]

/** Registers a client, and sends it a list, and a message if it accepts any. */
function registered({ message, frame, reply, say }: ReceivedRequest): void {
  reply({ event: 'RegistAck', instance: 1, listVersion: 1, deliveryWindow: 8 })
  say({ event: 'RegistListNtf', listVersion: 1, kind: rosterKind.whole, members }, 0)
  if (message.event !== 'RegistReq' || (message.flags & registFlags.listening) === 0) return
  const body = bodyOf(hostileText)
  const delivered = { messageId: new Uint8Array(16), mailboxSeq: 1, sender: 'bob', sentAt: 1_000, body }
  say({ event: 'DeliverMsgReq', attempt: 2, messages: [delivered] }, frame.seq)
}

/** Attempts of a server to control the terminals of its clients. */
const deeds = {
  'refuses every login': (heard) => {
    if (heard.message.event === 'HelloReq') heard.reply(nack('HelloNack', 'unauthorized', { text: hostileText }))
    return false
  },
  'refuses requests': (heard) => {
    const { message, reply } = heard
    if (message.event === 'ContinuePostFileReq') {
      reply(nack('ContinuePostFileNack', 'file-exists', { text: hostileText }))
    } else if (message.event === 'PostMsgReq') {
      const refusal = { code: numberOf('unknown-user'), retryAfter: 0, text: hostileText, recipients: [hostileText] }
      reply({ event: 'PostMsgAck', statuses: [[]], refused: [{ message: 0, ...refusal }] })
    } else if (message.event === 'RegistReq' && message.flags !== 0) {
      reply(nack('RegistNack', 'superseded', { text: hostileText }))
    } else if (message.event === 'RegistReq') registered(heard)
    else return true
    return false
  },
  'delivers messages': (heard) => {
    const { message, reply } = heard
    if (message.event === 'RegistReq') registered(heard)
    else if (message.event === 'PostMsgReq') reply({ event: 'PostMsgAck', statuses: [[0]], refused: [] })
    else return true
    return false
  },
} as const satisfies Readonly<Record<string, Act>>

/** The commands of one list run one after another. */
const commands = {
  'through pipes': [
    [['send', 'a.bin'], ['tasks', '--why'], ['who'], ['send', '--json', 'a.bin']],
    [
      ['msg', 'bob', 'hi'],
      ['listen', '--count', '1'],
      ['who', '--json'],
      ['listen', '--json', '--count', '1'],
    ],
  ],
  'on a terminal': [
    [['send', 'a.bin'], ['who']],
    [
      ['msg', 'bob', 'hi'],
      ['listen', '--count', '1'],
    ],
  ],
} as const

type Where = keyof typeof commands

/** Runs a command; resolves with its output. */
async function printed(terminal: boolean, line: readonly string[], cwd: string): Promise<Outcome> {
  if (!terminal) return await run('osp', line, { cwd })
  await using running = startOnTerminal('osp', line)
  const { code } = await running.ended
  return { code, stdout: running.stdout, stderr: running.stderr }
}

/** Runs each command against the server; resolves with their output. */
async function all({ port }: HostileServer, where: Where): Promise<readonly Outcome[]> {
  await using at = await place()
  await at.write('a.bin', 'content')
  const outcomes: Outcome[] = []
  const runAll = async (lines: (typeof commands)[Where][number]) => {
    for (const [command, ...args] of lines) {
      // A message that was printed once is not printed again with the same state.
      const state = `${at.path}/${(args as readonly string[]).includes('--json')}`
      const flags = ['--server', `127.0.0.1:${port}`, '--user', 'alice', '--state', state, '--retry-for', '0']
      const operands = args.map((arg) => (arg === 'a.bin' ? `${at.path}/a.bin` : arg))
      outcomes.push(await printed(where === 'on a terminal', [command, ...flags, ...operands], at.path))
    }
  }
  await Promise.all(commands[where].map(runAll))
  return outcomes
}

spec('a server that', (it) => {
  for (const [deed, act] of Object.entries(deeds)) {
    for (const where of Object.keys(commands) as Where[]) {
      const title = `${deed} with control characters does not get them to the output ${where}`
      if (where === 'on a terminal' && !terminals) {
        it.skip(title, 'script(1) is missing, which creates a terminal')
        continue
      }
      it(title, async () => {
        await using server = await hostileServer(act)
        const outcomes = await all(server, where)
        for (const outcome of outcomes) assertPrintable(outcome, where === 'on a terminal')
        assert.ok(outcomes.some(containsHostileText), JSON.stringify(outcomes))
      })
    }
  }
})
