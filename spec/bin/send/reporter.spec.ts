import assert from 'node:assert/strict'
import type { Upload } from 'ospd'
import { commandEvents, type PrintedEvent } from '../../../bin/common/events.ts'
import { results } from '../../../bin/common/output.ts'
import { plainLines } from '../../../bin/send/lines.ts'
import { Overview } from '../../../bin/send/overview.ts'
import { type ReportedFile, SendReporter, SendSummary } from '../../../bin/send/reporter.ts'
import { spec } from '../../support/spec.ts'

const values = { server: { host: '127.0.0.1', port: 6682 }, 'retry-for': 0, quiet: false, json: true }

/** Returns a reporter, its events, and a task of 1,000 bytes whose upload the spec advances. */
function reporting() {
  const printed: PrintedEvent[] = []
  const overview = new Overview<ReportedFile>()
  const reporter = new SendReporter(values, overview, plainLines)
  results.event = (event) => printed.push(event)
  const upload = {
    id: 7,
    name: 'a',
    phase: 'waiting',
    progress: { acknowledged: 0, durable: 0, size: 0 },
    transferred: 0,
  }
  const task: ReportedFile = { path: './a', size: 1_000, upload: upload as unknown as Upload }
  overview.add(task)
  const stands = (phase: string, acknowledged: number, durable: number) => {
    Object.assign(upload, { phase, progress: { acknowledged, durable, size: 1_000 }, transferred: acknowledged })
  }
  return { reporter, overview, all: () => [...printed], task, stands }
}

spec('osp send --json', (it) => {
  it('reports the progress of a file whenever it advances, with its rate and the remaining time', () => {
    const { reporter, all, stands } = reporting()
    stands('sending', 0, 0)
    reporter.progress(0)
    assert.equal(all().length, 0, 'a file that takes less than a second has none')
    stands('sending', 200, 100)
    reporter.progress(1_000)
    reporter.progress(2_000)
    stands('verifying', 1_000, 400)
    reporter.progress(3_000)
    const named = { event: 'progress', task: 7, file: './a', name: 'a' }
    assert.deepEqual(all(), [
      { ...named, state: 'sending', acknowledged: 200, durable: 100, size: 1_000, bytesPerSecond: 200, leftMs: 4_000 },
      { ...named, state: 'verifying', acknowledged: 1_000, durable: 400, size: 1_000, bytesPerSecond: 333, leftMs: 0 },
    ])
    for (const { event: _, ...fields } of all()) commandEvents.send.progress.parse(fields)
  })

  it('reports no progress of tasks that are paused, waiting or ended', () => {
    const { reporter, overview, all, task, stands } = reporting()
    reporter.progress(0)
    stands('paused', 200, 100)
    reporter.progress(1_000)
    stands('waiting', 300, 100)
    reporter.progress(2_000)
    stands('sending', 400, 100)
    overview.end(task)
    reporter.cancelled(task)
    reporter.progress(3_000)
    assert.deepEqual(
      all().map(({ event }) => event),
      ['cancelled'],
    )
  })
})

spec('the summary of osp send', (it) => {
  it('counts a replacement of an earlier command only as JSON', () => {
    const summary = new SendSummary()
    const file = { name: 'a', storedName: 'a', replaced: true, size: 5, algorithm: 'sha256', digest: '' } as const
    for (const transferred of [5, 0]) summary.addStored(file, transferred)
    assert.deepEqual([summary.replaced, summary.justReplaced], [2, 1])
  })
})
