import assert from 'node:assert/strict'
import { type Client, OspError } from 'ospd'
import type { Reporter } from '../../bin/send/reporter.ts'
import { Sending } from '../../bin/send/sending.ts'
import { Tally } from '../../bin/send/tally.ts'
import type { Found } from '../../bin/send/walk.ts'
import { spec } from '../support/spec.ts'

const silent: Reporter = {
  added() {},
  complete() {},
  stored() {},
  failed() {},
  skipped() {},
  refused() {},
  waiting() {},
  online() {},
  gaveUp() {},
  end() {},
}

/** A client whose uploads end when they are told to. */
function slowClient(): { client: Client; added: string[]; finishOne: () => void } {
  const added: string[] = []
  const finishing: (() => void)[] = []
  const add = async ({ name }: { name: string }) => {
    added.push(name)
    const finished = new Promise((resolve) => finishing.push(() => resolve({ size: 1 })))
    return { id: added.length, name, finished, contentBytes: 1, progress: { sent: 0, durable: 0, size: 1 }, on() {} }
  }
  const client = { uploads: { add } } as unknown as Client
  return { client, added, finishOne: () => finishing.shift()?.() }
}

async function* endless(): AsyncGenerator<Found> {
  for (let index = 0; ; index++) yield { path: `${index}`, name: `${index}`, size: 1 }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

spec('sending', (it) => {
  it('holds a bounded number of unfinished files, and takes the next as one is finished', async () => {
    const { client, added, finishOne } = slowClient()
    const stop = new AbortController()
    const tally = new Tally()
    const sending = new Sending({ client, reporter: silent, tally, digest: 'sha256', stop: stop.signal })
    const sent = sending.send(endless())
    for (let i = 0; i < 500; i++) await turn()
    assert.equal(added.length, 100)
    finishOne()
    for (let i = 0; i < 5; i++) await turn()
    assert.equal(added.length, 101)
    assert.equal(tally.stored, 1)
    stop.abort()
    await sent
    assert.equal(sending.unfinished.length, 100)
  })
})

spec('the exit code', (it) => {
  const after = (change: (tally: Tally) => void) => {
    const tally = new Tally()
    change(tally)
    return tally.exitCode
  }

  it('is that of the worst file, and of the whole command before that', () => {
    assert.equal(
      after(() => {}),
      0,
    )
    assert.equal(
      after((tally) => tally.isFailed(new OspError('disk-full'))),
      5,
    )
    const two = (tally: Tally) => {
      tally.isFailed(new OspError('disk-full'))
      tally.isFailed(new OspError('source-missing'))
    }
    assert.equal(after(two), 1)
    assert.equal(
      after((tally) => [two(tally), tally.isFailed(new OspError('usage'))]),
      2,
    )
    assert.equal(
      after((tally) => [two(tally), tally.refused(new OspError('unreachable'))]),
      3,
    )
    assert.equal(
      after((tally) => [two(tally), tally.refused(new OspError('unauthorized'))]),
      4,
    )
    assert.equal(
      after((tally) => [two(tally), tally.refused(new OspError('clients-full'))]),
      5,
    )
    assert.equal(
      after((tally) => [two(tally), tally.interrupted()]),
      130,
    )
  })
})
