// A storage that stands on nothing simulated, through the contract of its port and through worlds in which it is killed.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Platform, Random } from 'ospd'
import { type MemoryOptions, memory } from 'ospd/memory'
import { type MortalPlace, shrink, simulate, storageContract } from 'ospd/simulation'

/**
 * Where a storage keeps things: here in memory, which tells what was flushed from what was not, and can be crashed. An
 * embedded database or an object store stands here with a simulator of its own. `random` draws what a power cut leaves.
 */
function placeOf(options: MemoryOptions = {}, random?: Random) {
  let kept = memory(options)
  return {
    storage: () => kept,
    read: async (user: string, storedName: string) => kept.read(user, storedName),
    killed(power: boolean) {
      kept = kept.crashed(power ? random : undefined)
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function brittlePlace() {
  const failing = new Set<object>()
  const failFlushes = async () => {
    const trouble = {}
    failing.add(trouble)
    return { [Symbol.dispose]: () => void failing.delete(trouble) }
  }
  return { ...placeOf({ flushFails: () => failing.size > 0 }), failFlushes }
}

const kind = {
  name: 'own',
  place: async () => placeOf(),
  smallPlace: async (capacityBytes: number) => placeOf({ capacityBytes }),
  brittlePlace,
}
for (const { subject, fact, prove, limitMs, skipped } of storageContract(kind)) {
  test(`${subject} ${fact}`, { timeout: limitMs, skip: skipped ?? false }, prove)
}

for (const kind of ['files', 'both'] as const) {
  test(`it holds in twenty worlds of ${kind}`, async () => {
    // Whatever is durable takes up to 4 ms of virtual time, so that a kill finds it half done.
    const place = ({ random }: Platform): MortalPlace => placeOf({ operationMs: 4 }, random)
    for (let seed = 1; seed <= 20; seed++) {
      const run = await simulate(seed, { kind, place })
      if (run.failure === undefined) continue
      const { part, report } = await shrink(run, { kind, place })
      assert.fail(`seed ${seed} with ${JSON.stringify(part)}: ${report.failure}\n${report.trace.join('\n')}`)
    }
  })
}
