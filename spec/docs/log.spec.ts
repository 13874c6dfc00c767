import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { daemonEvents } from '../../bin/serve/daemonEvents.ts'
import { fixed } from '../../lib/limits.ts'
import { logEvents } from '../../lib/server/logEvents.ts'
import { root, sourcesOf } from '../support/source.ts'
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

/** What the sources of folders log: events and levels, as they stand side by side. */
function logged(folders: readonly string[]): readonly string[] {
  const texts = folders.flatMap((folder) => sourcesOf(folder)).map(({ text }) => text)
  const found = texts.flatMap((text) => [...text.matchAll(/level: '(\w+)',\s+event: '([\w-]+)'/gu)])
  return [...new Set(found.map(([, level, event]) => `${event} ${level}`))].sort()
}

const listed = (events: Events) => Object.entries(events).map(([event, { level }]) => `${event} ${level}`)

const parts = [
  ['server', ['lib/server', 'lib/runtime'], logEvents],
  ['daemon', ['bin/serve'], daemonEvents],
] as const

spec('docs/log.md', (it) => {
  for (const [name, folders, events] of parts) {
    it(`has every event that the ${name} logs, with its fields`, async () => {
      const printed = described(events)
      assert.equal(await section('docs/log.md', name, printed), printed)
    })

    it(`has the events of ${folders.join(' and ')}, under their levels, and no others`, () => {
      assert.deepEqual(logged(folders), listed(events).sort())
    })
  }

  it('has the length at which fields are cut', () => {
    const text = readFileSync(join(root, 'docs/log.md'), 'utf8')
    assert.ok(text.includes(`cut at ${fixed.logFieldCharacters.toLocaleString('en')} characters`))
  })
})
