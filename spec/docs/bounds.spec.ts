import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { clientLimits, defaultLimits, fixed } from '../../lib/limits.ts'
import { clientBounds, serverBounds } from '../simulation/queueBounds.ts'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'
import { type Bound, boundChecks } from './boundChecks.ts'
import { section, table } from './sections.ts'

const page = 'docs/simulation.md'
const bounds = Object.keys({ ...defaultLimits, ...clientLimits, ...fixed }) as Bound[]
const rows = new Set(Object.keys({ ...serverBounds(defaultLimits), ...clientBounds(defaultLimits) }))

function boundTable(): string {
  const checked = bounds.flatMap((bound) => {
    const { rows = [], files = [] } = boundChecks[bound]
    const by = [rows.join('; '), files.map((file) => `\`${file}\``).join(', ')]
    return rows.length + files.length > 0 ? [[`\`${bound}\``, ...by]] : []
  })
  return table(['bound', 'queues', 'or files'], checked)
}

spec('the table of bounds', (it) => {
  it('has each limit of lib/limits.ts, and nothing else', () => {
    assert.deepEqual(Object.keys(boundChecks).sort(), [...new Set(bounds)].sort())
  })

  it('names queues and files that exist, and every queue', () => {
    const checks = Object.values(boundChecks)
    assert.deepEqual(new Set(checks.flatMap((check) => check.rows ?? [])), rows)
    for (const file of checks.flatMap(({ files = [] }) => files)) assert.ok(existsSync(join(root, file)), file)
  })

  it('is up to date in the docs', async () => {
    assert.equal(await section(page, 'bounds', boundTable()), boundTable())
  })
})
