import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { daemonEvents } from '../../bin/serve/log.ts'
import { fixed } from '../../lib/limits.ts'
import { logEvents } from '../../lib/server/logEvents.ts'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'
import { section, table } from './sections.ts'

interface Described {
  readonly level: string
  readonly fields: readonly string[]
  readonly says: string
}

type Events = Readonly<Record<string, Described>>

function described(events: Events): string {
  const rows = Object.entries(events).map(([event, { level, fields, says }]) => [
    `\`${event}\``,
    level,
    fields.map((field) => `\`${field}\``).join(' '),
    says,
  ])
  return `\n${table(['event', 'level', 'fields', 'what happened'], rows)}`
}

const parts = [
  ['server', logEvents],
  ['daemon', daemonEvents],
] as const

spec('docs/log.md', (it) => {
  for (const [name, events] of parts) {
    it(`has every event that the ${name} logs, with its fields`, async () => {
      const printed = described(events)
      assert.equal(await section('docs/log.md', name, printed), printed)
    })
  }

  it('has the length at which fields are cut', () => {
    const text = readFileSync(join(root, 'docs/log.md'), 'utf8')
    assert.ok(text.includes(`cut at ${fixed.logFieldCharacters.toLocaleString('en')} characters`))
  })
})
