import assert from 'node:assert/strict'
import { z } from 'zod/mini'
import { commandEvents } from '../../bin/common/events.ts'
import { spec } from '../support/spec.ts'
import { section, table } from './sections.ts'

interface Shape {
  readonly description?: string
  readonly type?: string
  readonly enum?: readonly string[]
  readonly anyOf?: readonly Shape[]
  readonly properties?: Readonly<Record<string, Shape>>
}

const typeOf = ({ type, enum: choices, anyOf }: Shape): string =>
  anyOf?.map(typeOf).join(' or ') ?? choices?.map((choice) => `\`"${choice}"\``).join(', ') ?? type ?? '?'

function described(events: Readonly<Record<string, z.ZodMiniType>>): string {
  const parts = Object.entries(events).map(([event, schema]) => {
    const { description, properties = {} } = z.toJSONSchema(schema) as Shape
    const rows = Object.entries(properties).map(([name, shape]) => [
      `\`${name}\``,
      typeOf(shape),
      shape.description ?? shape.anyOf?.[0]?.description ?? '?',
    ])
    return `### \`${event}\`\n\n${description}\n\n${table(['field', 'type', 'meaning'], rows)}\n`
  })
  return `\n${parts.join('')}`
}

const { task: _, ...addOnly } = commandEvents.add

const commands = { ...commandEvents, add: addOnly }

spec('docs/json.md', (it) => {
  for (const [command, events] of Object.entries(commands)) {
    it(`describes what ${command} prints`, async () => {
      const printed = described(events)
      assert.ok(!printed.includes('?'), printed)
      assert.equal(await section('docs/json.md', command, printed), printed)
    })
  }
})
