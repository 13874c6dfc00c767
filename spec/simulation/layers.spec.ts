import assert from 'node:assert/strict'
import type { Frame } from '../../lib/wire/frame.ts'
import { type StorageChanges, storageLayer, type TransportChanges, transportLayer } from '../support/layers.ts'
import { spec } from '../support/spec.ts'
import { type RunReport, type SimulateOptions, simulate } from './index.ts'

const around = (changes: StorageChanges): SimulateOptions => ({ storage: (below) => storageLayer(below, changes) })
const over = (changes: TransportChanges): SimulateOptions => ({ transport: (below) => transportLayer(below, changes) })

/** Layers that violate their port, each in one way. */
const wrong: Readonly<Record<string, SimulateOptions>> = {
  'a storage that ignores flushes': { kind: 'files', ...around({ file: () => ({ flush: async () => {} }) }) },
  'a storage that writes wrong bytes': {
    kind: 'files',
    ...around({
      file: (file) => ({
        write: (offset, parts) => file.write(offset, offset < 3_000 ? parts : parts.map((part) => part.toReversed())),
      }),
    }),
  },
  'a storage that acknowledges messages before they are durable': {
    kind: 'messages',
    ...around({
      mailboxes: (mailboxes) => ({
        append: async (messages, bounds) => {
          mailboxes.append(messages, bounds).catch(() => {})
          return messages.map(() => undefined)
        },
      }),
    }),
  },
  'a storage that removes one message too many': {
    kind: 'messages',
    ...around({
      mailboxes: (mailboxes) => ({
        remove: (user, seqs) => mailboxes.remove(user, [...seqs, Math.max(...seqs) + 1]),
      }),
    }),
  },
  'a storage that returns messages in reverse order': {
    kind: 'messages',
    ...around({
      mailboxes: (mailboxes) => ({
        read: async (...given) => (await mailboxes.read(...given)).toReversed(),
      }),
    }),
  },
  'a transport that swaps two frames': {
    kind: 'both',
    ...over({ told: (to) => ({ frame: swapping((frame) => to.frame(frame)) }) }),
  },
  'a transport that loses a frame': {
    kind: 'both',
    ...over({ told: (to) => ({ frame: losing((frame) => to.frame(frame)) }) }),
  },
}

/** Delivers every tenth frame after the one that follows it. */
function swapping(tell: (frame: Frame) => void): (frame: Frame) => void {
  let count = 0
  let held: Frame | undefined
  return (frame) => {
    const late = held
    held = ++count % 10 === 0 ? frame : undefined
    if (held) return
    tell(frame)
    if (late) tell(late)
  }
}

function losing(tell: (frame: Frame) => void): (frame: Frame) => void {
  let count = 0
  return (frame) => ++count % 10 !== 0 && tell(frame)
}

spec('a custom layer', (it) => {
  for (const kind of ['files', 'messages', 'both'] as const) {
    it(`that passes everything on changes nothing in a world of ${kind}`, async () => {
      for (let seed = 1; seed <= 5; seed++) {
        const layered = await simulate(seed, { kind, ...around({}), ...over({}) })
        assert.equal(layered.failure, undefined, `seed ${seed}`)
        assert.deepEqual(layered, await simulate(seed, { kind }))
      }
    })
  }

  for (const [what, options] of Object.entries(wrong)) {
    it(`is found within twenty seeds if it is ${what}`, async () => {
      assert.ok(await firstFailure(options), 'twenty worlds hold')
    })
  }
})

async function firstFailure(options: SimulateOptions): Promise<RunReport | undefined> {
  for (let seed = 1; seed <= 20; seed++) {
    const report = await simulate(seed, options)
    if (report.failure) return report
  }
}
