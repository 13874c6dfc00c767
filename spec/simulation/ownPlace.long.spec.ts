import assert from 'node:assert/strict'
import { memory } from '../../lib/memory.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import { type StorageChanges, storageLayer } from '../support/layers.ts'
import { spec } from '../support/spec.ts'
import { type MortalPlace, type RunReport, type SimulateOptions, shrink, simulate } from './index.ts'

/** A storage in memory with `changes`; `loses`: a power failure loses everything. */
const placeWith =
  (changes: StorageChanges = {}, loses = false) =>
  ({ random }: Platform): MortalPlace => {
    const options = { operationMs: 4, segmentBytes: 2_000 }
    let kept = memory(options)
    return {
      storage: () => storageLayer(kept, changes),
      read: async (user, storedName) => kept.read(user, storedName),
      killed(power) {
        kept = loses && power ? memory(options) : kept.crashed(power ? random : undefined)
      },
    }
  }

/** A storage that can be opened only once. */
const opensOnce: NonNullable<SimulateOptions['place']> = (machine) => {
  const place = placeWith()(machine)
  let wasClosed = false
  return {
    ...place,
    storage() {
      const storage = place.storage()
      return {
        ...storage,
        open: wasClosed ? () => Promise.reject(new Error('the file is locked')) : storage.open,
        async [Symbol.asyncDispose]() {
          wasClosed = true
          await storage[Symbol.asyncDispose]()
        },
      }
    },
  }
}

interface Wrong {
  readonly kind: 'files' | 'messages' | 'both'
  readonly place: NonNullable<SimulateOptions['place']>
  /** The failure that a world reports. */
  readonly found: RegExp
}

/** Storages that violate the port, each in one way. */
const wrong: Readonly<Record<string, Wrong>> = {
  'acknowledges bytes before they are flushed': {
    kind: 'files',
    place: placeWith({ file: () => ({ flush: async () => {} }) }),
    found: /was published, and has other bytes now/u,
  },
  'forgets the progress of an upload': {
    kind: 'files',
    place: placeWith({ transfers: () => ({ checkpoint: async () => {} }) }),
    found:
      /the record of \w+\/file-\d ends at 0, and was durable up to \d+|bytes were durable, and the upload continues at 0/u,
  },
  'does not list its uploads': {
    kind: 'files',
    place: placeWith({ transfers: () => ({ records: async function* () {} }) }),
    found: /^the record of \w+\/file-\d is gone$/u,
  },
  'forgets that an upload is completed': {
    kind: 'files',
    place: placeWith({
      transfers: (transfers) => ({
        complete: async ({ user, name }) => void (await transfers.remove(user, name)),
      }),
    }),
    found: /was published twice/u,
  },
  'publishes a file without its last byte': {
    kind: 'files',
    place: placeWith({
      file: (file) => ({
        async publish(storedName, replace) {
          if (file.length > 0) await file.truncate(file.length - 1)
          return file.publish(storedName, replace)
        },
      }),
    }),
    found: /was published with bytes that its source never had/u,
  },
  'reports a file as published before it is': {
    kind: 'files',
    place: placeWith({
      file: (file) => ({
        async publish(storedName, replace) {
          file.publish(storedName, replace).catch(() => {})
          return true
        },
      }),
    }),
    found: /was published, and does not exist/u,
  },
  'loses everything at a power failure': {
    kind: 'both',
    place: placeWith({}, true),
    found: /was published, and is gone|the record of \w+\/file-\d is gone/u,
  },
  'cannot be opened again once it was closed': {
    kind: 'messages',
    place: opensOnce,
    found: /^(?:the server did not start|the storage cannot be read any more): Error: the file is locked$/u,
  },
  'loses the last messages of a mailbox': {
    kind: 'messages',
    place: placeWith({
      mailboxes: (mailboxes) => ({
        async append(messages, bounds) {
          mailboxes.append(messages, bounds).catch(() => {})
          return messages.map(() => undefined)
        },
      }),
    }),
    found: /never received|never got the receipt|and not refused: id-reused|message ids of a sender: \d+, over/u,
  },
  'keeps a message that is removed': {
    kind: 'messages',
    place: placeWith({ mailboxes: () => ({ remove: async () => {} }) }),
    // The same call stores the receipt of the message.
    found: /is delivered to \w+, and was handled before|never got the receipt/u,
  },
  'stores a message twice': {
    kind: 'messages',
    place: placeWith({
      mailboxes: (mailboxes) => ({
        async append(messages, bounds) {
          const outcomes = await mailboxes.append(messages, bounds)
          const again = messages.map((message) => ({ ...message, id: message.id.toReversed() }))
          await mailboxes.append(again, bounds)
          return outcomes
        },
      }),
    }),
    found: /received a message that no program has sent|was stored again/u,
  },
}

spec('a custom storage', (it) => {
  for (const kind of ['files', 'messages', 'both'] as const) {
    it(`takes part in worlds of ${kind}, without the faults of the simulated disk`, async () => {
      let done = 0
      for (let seed = 1; seed <= 20; seed++) {
        const { failure, trace, published, delivered } = await simulate(seed, { kind, place: placeWith() })
        assert.equal(failure, undefined, `seed ${seed}: ${failure}\n${trace.slice(-40).join('\n')}`)
        assert.deepEqual(
          trace.filter((line) => /the disk|a bit of|a flush fails/u.test(line)),
          [],
        )
        done += published + delivered
      }
      assert.ok(done > 50, `${done} files and messages`)
    })
  }

  it('produces the same run each time, to the last line of its trace', async () => {
    for (const seed of [1, 2, 3]) {
      const options = { place: placeWith() }
      assert.deepEqual(await simulate(seed, options), await simulate(seed, options))
    }
  })

  for (const [what, { kind, place, found }] of Object.entries(wrong)) {
    it(`is found within a hundred seeds if it ${what}`, async () => {
      const { seed, failure } = await firstFailure({ kind, place })
      assert.match(failure ?? '', found, `seed ${seed}`)
      assert.equal((await simulate(seed, { kind, place: placeWith() })).failure, undefined)
    })
  }

  it('cannot be combined with a layer around the simulated storage', async () => {
    const both = { place: placeWith(), storage: (storage: Parameters<typeof storageLayer>[0]) => storage }
    await assert.rejects(simulate(1, both), /^RangeError: give `place` or `storage`, not both/u)
  })
})

spec('a failing world with a custom storage', (it) => {
  it('is reduced, and the rest fails in the same way', async () => {
    const options = { kind: 'files', place: placeWith({ file: () => ({ flush: async () => {} }) }) } as const
    const failed = await firstFailure(options)
    const { part, report } = await shrink(failed, options)
    assert.ok(report.actions.length < failed.actions.length, `${report.actions.length} actions`)
    assert.match(report.failure ?? '', /was published, and has other bytes now/u)
    assert.deepEqual(await simulate(failed.seed, { ...options, part }), report)
  })
})

async function firstFailure(options: SimulateOptions): Promise<RunReport> {
  for (let seed = 1; seed <= 100; seed++) {
    const report = await simulate(seed, options)
    if (report.failure) return report
  }
  throw new Error('holds its invariants in a hundred worlds')
}
