import { OspError } from '../../errors.ts'

/**
 * Returns the reason why the program is not ready, as a sentence without secrets or paths, or `undefined` if the check passes.
 */
export type ReadinessCheck = () => string | undefined

/** The named checks that decide whether a program is ready for clients. It is ready if all checks pass. */
export class Readiness {
  readonly #checks = new Map<string, ReadinessCheck>()

  /**
   * Adds a check, until the returned object is disposed. It is called for each request, so it must be quick; if it throws, the
   * program is not ready. Throws OspError `usage` if a check of this name exists.
   */
  add(name: string, check: ReadinessCheck): Disposable {
    if (this.#checks.has(name)) throw new OspError('usage', `Readiness: a check named ${name} already exists`)
    this.#checks.set(name, check)
    return { [Symbol.dispose]: () => void this.#checks.delete(name) }
  }

  /** The reasons why the program is not ready, by the names of their checks. */
  get reasons(): Readonly<Record<string, string>> {
    const reasons = [...this.#checks].map(([name, check]) => [name, reasonOf(check)] as const)
    return Object.fromEntries(reasons.filter((entry): entry is readonly [string, string] => entry[1] !== undefined))
  }
}

function reasonOf(check: ReadinessCheck): string | undefined {
  try {
    return check()
  } catch {
    return 'the check has failed'
  }
}
