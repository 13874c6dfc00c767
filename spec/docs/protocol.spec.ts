import assert from 'node:assert/strict'
import { fileInstance, messageInstance } from '../../lib/core/instance.ts'
import { type ErrorCode, errors } from '../../lib/errors.ts'
import { ackNameOf, type EventName, isRequest, nackNameOf } from '../../lib/wire/message.ts'
import { apps, events } from '../../lib/wire/protocol.ts'
import { spec } from '../support/spec.ts'
import { vectors } from '../wire/golden.ts'
import { section, table } from './sections.ts'

const page = 'docs/protocol.md'

/** Returns the name of `StartPostFileReq` in the original design, `START_POST_FILE_REQ`. */
const seedName = (name: string) => name.replace(/(?<=[a-z0-9])(?=[A-Z])/gu, '_').toUpperCase()

const appNames = { link: 'link', file: 'File', message: 'Msg' } as const

function eventRow(name: EventName): (string | number)[] {
  const event = events[name]
  return [event.number, seedName(name), appNames[event.app], goesTo(name), fieldsOf(name), repliesOf(name)]
}

function goesTo(name: EventName): string {
  const event = events[name]
  const side = { client: 'server', server: 'client', both: 'both' }[event.from]
  return event.kind === 'request' && event.to !== 'peer' ? `${side}, ${event.to}` : side
}

function fieldsOf(name: EventName): string {
  const { fields } = events[name]
  const all = Object.entries(fields).map(([key, codec]) => `${key} ${codec.form}`)
  const text = all.join(', ')
  return text.replace(/^code u16, retryAfter u32, text str/u, '*nack*')
}

function repliesOf(name: EventName): string {
  if (!isRequest(name)) return ''
  return [ackNameOf(name), nackNameOf(name)].flatMap((reply) => (reply ? [events[reply].number] : [])).join(', ')
}

function eventTable(): string {
  const names = Object.keys(events) as EventName[]
  const rows = names.sort((a, b) => events[a].number - events[b].number).map(eventRow)
  return table(['no', 'event', 'app', 'to', 'fields', 'replies'], rows)
}

/** The step that is needed in addition to waiting. */
const recovery: Readonly<Record<string, string>> = {
  'instance-lost': 'after CONTINUE',
  'version-changed': 'with the new version',
  'wrong-offset': 'at the returned progress',
  'digest-mismatch': 'after START',
  'not-registered': 'after REGIST',
}

function codeTable(): string {
  const codes = (Object.keys(errors) as ErrorCode[]).filter((code) => errors[code].number !== undefined)
  const rows = codes.map((code) => {
    const { number, retry, text } = errors[code]
    return [number ?? '', `\`${code}\``, text, retry === 'automatic' ? (recovery[code] ?? '?') : retry]
  })
  return table(['no', 'code', 'meaning', 'retry'], rows)
}

function chart(name: string, states: Readonly<Record<string, Readonly<Record<string, string | undefined>>>>): string {
  const arrows = Object.entries(states).flatMap(([state, cells]) =>
    Object.entries(cells).map(([event, next]) => `    ${state} --> ${next}: ${event}\n`),
  )
  return `${name}:\n\n\`\`\`mermaid\nstateDiagram-v2\n    [*] --> IDLE\n${arrows.join('')}\`\`\`\n`
}

spec('the protocol page', (it) => {
  it('has the event table of the code', async () => {
    assert.equal(await section(page, 'events', eventTable()), eventTable())
  })

  it('has the code table of the code, with a way to recover from each refusal that has one', async () => {
    assert.equal(await section(page, 'codes', codeTable()), codeTable())
    assert.ok(!codeTable().includes('?  |'))
    const recoverable = (Object.keys(errors) as ErrorCode[]).filter((code) => errors[code].retry === 'automatic')
    assert.deepEqual(recoverable.sort(), Object.keys(recovery).sort())
  })

  it('has the state charts of the instances', async () => {
    const charts = `${chart('An instance of FileApp', fileInstance.table)}\n${chart('An instance of MsgApp', messageInstance.table)}`
    assert.equal(await section(page, 'charts', charts), charts)
  })

  it('has the golden frames as its examples', async () => {
    const frames = vectors.map(([{ event, ...fields }, frame]) => `${seedName(event)}${shown(fields)}\n  ${frame}\n`)
    const text = `\`\`\`text\n${frames.join('')}\`\`\`\n`
    assert.equal(await section(page, 'frames', text), text)
  })

  it('has the numbers of the apps', () => {
    assert.deepEqual(apps, { link: 0, file: 1, message: 2 })
  })
})

/** Formats the fields of a message on one line, bytes as hexadecimal digits. */
function shown(fields: object): string {
  const text = JSON.stringify(fields, (_, value) =>
    value instanceof Uint8Array ? `0x${Buffer.from(value).toString('hex')}` : value,
  )
  return text === '{}' ? '' : ` ${text}`.replaceAll('"0x"', '""').replace(/"0x([0-9a-f]+)"/gu, 'hex $1')
}
