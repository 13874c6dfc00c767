import type { DigestStore } from '../../lib/ports/clientState.ts'
import type { DigestName } from '../../lib/ports/platform.ts'
import type { SimulatedFile } from './files.ts'
import type { SimulatedProcess } from './process.ts'

/** Maximum time of a call. */
const mostMs = 4

/**
 * The remembered digests of one program, which outlive its processes. Some calls fail, and some return the digest of an earlier
 * version.
 */
export class SimulatedDigests {
  readonly #kept = new Map<string, Uint8Array>()

  /** The digests of these files as a process sees them. */
  storeOf(process: SimulatedProcess, files: readonly SimulatedFile[]): DigestStore {
    const call = <T>(act: () => T): Promise<T> =>
      process.effect(mostMs, 'time to use remembered digests', () => {
        if (process.platform.random.fraction('a call about digests fails') < 0.05) throw new Error('simulated failure')
        return act()
      })
    const isStale = () => process.platform.random.fraction('a remembered digest is stale') < 0.2
    const keyOf = (identity: string, algorithm: DigestName) => `${algorithm} ${identity}`
    return {
      find: (identity, algorithm) =>
        call(() => {
          const key = keyOf(identity, algorithm)
          const at = identity.lastIndexOf(' ')
          const name = identity.slice(0, at)
          const isOfFile = (other: string) => other.startsWith(keyOf(`${name} `, algorithm))
          const earlier = isStale() ? [...this.#kept.keys()].find(isOfFile) : undefined
          const file = files.find((each) => each.name === name)
          const number = Number(identity.slice(at + 1))
          if (earlier !== undefined && earlier !== key) file?.misremembered.add(number)
          return this.#kept.get(earlier ?? key)
        }),
      put: (identity, algorithm, digest) => call(() => void this.#kept.set(keyOf(identity, algorithm), digest)),
    }
  }
}
