import { type Client, type DeviceInfo, OspError } from 'ospd'
import { runWithClient } from '../common/client.ts'
import { commonOptions, shortRetryFor } from '../common/commonOptions.ts'
import { results, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import type { Values } from '../common/settings.ts'
import { printable, tableLines } from '../common/text.ts'
import { localTime } from '../common/units.ts'
import { UsageError, unexpectedOperand, unknownName } from '../common/usage.ts'

const settings = { ...commonOptions, 'retry-for': shortRetryFor } as const

type DevicesValues = Values<typeof settings>

const verbs = ['ls', 'rm']

/** `osp devices`: lists and removes the devices of a user. */
export const devicesCommand = command({
  name: 'devices',
  operands: '[ls|rm] [NAME...]',
  describe:
    'List the devices that receive your messages (osp listen --device), or remove devices, so that messages no longer wait for them.',
  settings,
  examples: [
    ['osp devices', 'print each device: name, when it last listened, number of waiting messages'],
    ['osp devices rm old-phone', 'remove a device'],
    ['osp devices rm ""', 'remove the device of the programs that have listened without --device'],
  ],
  onlyLists: ([verb = 'ls']) => verb === 'ls',
  run,
})

async function run(values: DevicesValues, [verb = 'ls', ...names]: readonly string[]): Promise<number> {
  if (!verbs.includes(verb)) throw new UsageError(unknownName('verb', verb, verbs))
  const [name] = names
  if (verb === 'ls' && name !== undefined) throw unexpectedOperand('devices ls', name)
  if (verb === 'rm' && name === undefined) throw new UsageError('devices rm requires the NAME of a device')
  return await runWithClient(values, {
    run: (client) => (verb === 'ls' ? list(client, values) : remove(client, new Set(names))),
  })
}

async function list(client: Client, values: DevicesValues): Promise<void> {
  const devices = await client.devices.list()
  if (devices.length === 0) sayEmpty('no devices are known; osp listen --device adds one', values)
  const lines = tableLines(devices.map(cellsOf))
  for (const [at, { name, isListening: listening, seenAt, waiting }] of devices.entries()) {
    const event = { event: 'device', name, listening, seenAt: seenAt.toISOString(), waiting } as const
    await results.printed(event, lines[at] ?? '')
  }
}

const cellsOf = ({ name, isListening, seenAt, waiting }: DeviceInfo) => [
  nameText(name),
  isListening ? 'listening' : localTime(seenAt),
  `${waiting} waiting`,
]

const nameText = (name: string) => (name === '' ? '""' : printable(name))

/** Removes devices. If one of them is unknown or listening, removes none, and rejects with OspError. */
async function remove(client: Client, names: ReadonlySet<string>): Promise<void> {
  const devices = await client.devices.list()
  const known = devices.map(({ name }) => name)
  const unknown = Array.from(names).find((name) => !known.includes(name))
  if (unknown !== undefined) throw new OspError('usage', unknownName('device', unknown, known))
  const listening = devices.find(({ name, isListening }) => isListening && names.has(name))
  if (listening) throw listens(listening.name)
  for (const name of names) {
    // A program can have begun to listen meanwhile.
    await client.devices.remove(name).catch((error: unknown) => {
      throw error instanceof OspError && error.code === 'device-listening' ? listens(name) : error
    })
    results.print({ event: 'removed', name }, `${nameText(name)} removed`)
  }
}

const listens = (name: string) =>
  new OspError('device-listening', `a program is listening for the device ${nameText(name)}; end it first`)
