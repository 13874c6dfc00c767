import assert from 'node:assert/strict'
import { OspError } from 'ospd'
import type { FoundPaths } from '../../../bin/send/candidates.ts'
import { FileSender, type FileSenderOptions, unfinishedMost } from '../../../bin/send/fileSender.ts'
import { Overview } from '../../../bin/send/overview.ts'
import { type ReportedFile, SendSummary } from '../../../bin/send/reporter.ts'
import { ClientUpload } from '../../../lib/client/uploads/upload.ts'
import { spec } from '../../support/spec.ts'

const silent: FileSenderOptions['reporter'] = {
  stored() {},
  cancelled() {},
  failed() {},
  skipped() {},
  refused() {},
}

/** The options of a command without a running program beside it. */
const alone = { overview: new Overview<ReportedFile>(), directory: '/state', isAwaited: () => false, connect() {} }

const host = { pause: async () => {}, resume: async () => {}, cancel: async () => {} }

/** Ends an upload as its client does. */
function finish(upload: ClientUpload): void {
  upload.move('begin')
  const { name } = upload
  upload.stored({ name, storedName: name, replaced: false, size: 1, algorithm: 'sha256', digest: '' })
}

/** Returns a client whose uploads end when the spec ends them. */
function slowClient() {
  const added: ClientUpload[] = []
  const upload: FileSenderOptions['upload'] = async (sources) => {
    const uploads = sources.map(({ name }, at) => new ClientUpload(added.length + at, name, host))
    added.push(...uploads)
    return uploads
  }
  return { upload, added }
}

async function* files(count: number): FoundPaths {
  for (let index = 0; index < count; index++) yield [{ path: `${index}`, name: `${index}`, size: 1 }]
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

spec('sending', (it) => {
  it('keeps a bounded number of unfinished files, and adds the next when one ends', async () => {
    const { upload, added } = slowClient()
    const stop = new AbortController()
    const summary = new SendSummary()
    const sending = new FileSender({
      upload,
      reporter: silent,
      summary,
      uploadOptions: { digest: 'sha256' },
      stop: stop.signal,
      ...alone,
    })
    const sent = sending.send(files(Number.POSITIVE_INFINITY))
    while (added.length < unfinishedMost) await turn()
    for (let i = 0; i < 500; i++) await turn()
    assert.equal(added.length, unfinishedMost)
    const [first] = added
    assert(first)
    finish(first)
    sending.changed(first)
    for (let i = 0; i < 5; i++) await turn()
    assert.equal(added.length, unfinishedMost + 1)
    assert.equal(summary.stored, 1)
    stop.abort()
    await sent
    assert.equal(sending.unfinished.length, unfinishedMost)
  })

  it('connects when a file is added, but not for a path that fails', async () => {
    const { upload, added } = slowClient()
    const stop = new AbortController()
    const summary = new SendSummary()
    const addedBefore: number[] = []
    const connect = () => void addedBefore.push(added.length)
    const common = {
      ...alone,
      reporter: silent,
      summary,
      uploadOptions: { digest: 'sha256' },
      stop: stop.signal,
      connect,
    } as const
    const sending = new FileSender({ ...common, upload })
    async function* paths(): FoundPaths {
      yield [{ path: 'missing', failure: new OspError('source-missing') }]
      await turn()
      assert.deepEqual(addedBefore, [])
      yield* files(1)
    }
    const sent = sending.send(paths())
    while (added.length === 0) await turn()
    assert.deepEqual(addedBefore, [0])
    stop.abort()
    await sent
  })

  it('does not wait for paused uploads until they continue', async () => {
    const { upload } = slowClient()
    const { signal } = new AbortController()
    const summary = new SendSummary()
    const sending = new FileSender({
      upload,
      reporter: silent,
      summary,
      uploadOptions: { digest: 'sha256' },
      stop: signal,
      ...alone,
    })
    const paused = new ClientUpload(1, 'a', host, '/nowhere/a')
    paused.move('pause')
    sending.changed(paused)
    assert.deepEqual(
      sending.park([paused]).map(({ path }) => path),
      ['/nowhere/a'],
    )
    await sending.rest()
    assert.deepEqual(sending.unfinished, [])
    paused.move('resume')
    sending.changed(paused)
    let rested = false
    const resting = sending.rest().then(() => {
      rested = true
    })
    for (let i = 0; i < 5; i++) await turn()
    assert.equal(rested, false)
    finish(paused)
    sending.changed(paused)
    await resting
    assert.equal(summary.stored, 1)
  })

  it('fails all files with the reason after the client gave up, including those that had not begun', async () => {
    const failed: string[] = []
    const reporter = {
      ...silent,
      failed: ({ path }: { path: string }, { code }: OspError) => failed.push(`${path} ${code}`),
    }
    const summary = new SendSummary()
    const { upload, added } = slowClient()
    const { signal } = new AbortController()
    const sending = new FileSender({
      upload,
      reporter,
      summary,
      uploadOptions: { digest: 'sha256' },
      stop: signal,
      ...alone,
    })
    const sent = sending.send(files(250))
    for (let i = 0; i < 500; i++) await turn()
    const why = new OspError('unreachable')
    summary.refusal = why
    for (const each of added) {
      each.move('fail', why)
      sending.changed(each)
    }
    await sent
    assert.equal(summary.failed, 250)
    assert.deepEqual([...new Set(failed)].length, 250)
    assert.equal(failed.at(-1), '249 unreachable')
  })
})

spec('the exit code', (it) => {
  const after = (change: (summary: SendSummary) => void) => {
    const summary = new SendSummary()
    change(summary)
    return summary.exitCode
  }

  it('is that of the whole command, or otherwise of the worst file', () => {
    assert.equal(
      after(() => {}),
      0,
    )
    assert.equal(
      after((summary) => summary.addFailed(new OspError('disk-full'))),
      5,
    )
    const two = (summary: SendSummary) => {
      summary.addFailed(new OspError('disk-full'))
      summary.addFailed(new OspError('source-missing'))
    }
    assert.equal(after(two), 1)
    assert.equal(
      after((summary) => [two(summary), summary.addFailed(new OspError('usage'))]),
      2,
    )
    assert.equal(
      after((summary) => [two(summary), Object.assign(summary, { refusal: new OspError('unreachable') })]),
      3,
    )
    assert.equal(
      after((summary) => [two(summary), Object.assign(summary, { refusal: new OspError('unauthorized') })]),
      4,
    )
    assert.equal(
      after((summary) => [two(summary), Object.assign(summary, { refusal: new OspError('clients-full') })]),
      5,
    )
    assert.equal(
      after((summary) => [two(summary), summary.interrupted(0)]),
      130,
    )
  })
})
