import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../support/source.ts'
import { brokenPromises } from './brokenPromises.ts'
import { mailboxMutations } from './mailboxMutations.ts'
import { messageMutations } from './messageMutations.ts'
import { queueMutations } from './queueMutations.ts'
import type { WorldKind } from './simulate.ts'

/** A mend of the sources, how it is taken out, and what fails then. */
export interface Mutation {
  /** What goes wrong without it. */
  readonly fault: string
  readonly file: string
  /** Occurs once in the file. */
  readonly before: string
  readonly after: string
  /** A world whose run breaks an invariant; or a spec file, where no seed was found. */
  readonly shownBy: Seed | string
}

/** A simulated world. */
export interface Seed {
  readonly world: WorldKind
  readonly seed: number
}

const files = (seed: number): Seed => ({ world: 'files', seed })

/**
 * Faults that were found, and mended, with what shows each again, and promises that were broken on purpose. A seed stands for another run as soon as anything
 * draws, waits or sends otherwise than before: then `npm run mutate` says which seeds no longer show their fault, and
 * names others.
 */
const fileMutations: readonly Mutation[] = [
  {
    fault: 'a chunk under way for an upload that was taken over is taken for another upload of its link',
    file: 'lib/server/files/uploads.ts',
    before: 'this.#pool.assign(caller, event, (number) => !this.#rests(number, caller))',
    after: 'this.#pool.assign(caller, event)',
    shownBy: files(109),
  },
  {
    fault: 'a take-over gives a link the instance that rests for it',
    file: 'lib/server/files/uploads.ts',
    before: 'if (this.#rests(instance.number, to)) {',
    after: 'if (Number.isNaN(instance.number)) {',
    shownBy: 'spec/server/files/resting.spec.ts',
  },
  {
    fault: 'a link takes over more uploads at once than it is allowed',
    file: 'lib/server/files/uploadBounds.ts',
    before: 'for (const reserved of this.#reserved) if (reserved.node === node) count++',
    after: '',
    shownBy: files(17),
  },
  {
    fault: 'a version that is stored already is sent again beside the record of another one',
    file: 'lib/storage/transfers/claiming.ts',
    before: 'if (options.fresh || !same) {',
    after: 'if (options.fresh || !record) {',
    shownBy: files(18),
  },
  {
    fault: 'a START that had to wait stores again what another program has stored meanwhile',
    file: 'lib/storage/transfers/claiming.ts',
    before: 'if (options.fresh || !same) {',
    after: 'if (!options.fresh && !same) {',
    shownBy: 'spec/testing/storage.spec.ts',
  },
  {
    fault: 'what a sending has asked reaches another upload after it has ended',
    file: 'lib/client/uploads/uploadAttempt.ts',
    before: 'for (const seq of left) this.#options.link.peer.abandon(seq)',
    after: 'left.length = 0',
    shownBy: 'spec/client/uploads/abandoning.spec.ts',
  },
  {
    fault: 'a repetition leaves with other bytes, since its buffer is free once the first copy is answered',
    file: 'lib/core/requests.ts',
    before: 'if (pending.freed || pending.copies > 0) return',
    after: 'if (pending.freed) return',
    shownBy: files(461),
  },
  {
    fault: 'a START that is refused for now is forgotten, and its upload fails for good',
    file: 'lib/client/uploads/uploadJob.ts',
    before: 'const stored = await sending.run()',
    after: 'this.#fresh = false\n    const stored = await sending.run()',
    shownBy: 'spec/client/uploads/startingAgain.spec.ts',
  },
  {
    fault: 'a HELLO that arrives late ends the later link of its own client',
    file: 'lib/server/server.ts',
    before: "if (others.some((other) => other.attempt > attempt)) throw new OspError('link-replaced')",
    after: '',
    shownBy: 'spec/server/connections/hello.spec.ts',
  },
]

export const mutations: readonly Mutation[] = [
  ...fileMutations,
  ...brokenPromises,
  ...messageMutations,
  ...mailboxMutations,
  ...queueMutations,
]

/** What shows a fault, for people. */
export function nameOf(shownBy: Mutation['shownBy']): string {
  return typeof shownBy === 'string' ? shownBy : `seed ${shownBy.seed} of ${shownBy.world}`
}

/** The text of its file without the mend. Throws where what is to be taken out does not stand there once. */
export function mutated({ file, before, after }: Mutation): string {
  const text = readFileSync(join(root, file), 'utf8')
  const times = text.split(before).length - 1
  if (times !== 1) throw new Error(`${file} has ${times} times: ${before}`)
  return text.replace(before, () => after)
}
