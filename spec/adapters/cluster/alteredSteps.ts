import { OutcomeUnknown, type Steps } from '../../../lib/adapters/cluster/steps.ts'

type Step = (...given: unknown[]) => Promise<unknown>
/** Runs a step, or replaces it. */
type Alteration = (name: string, run: () => Promise<unknown>, given: readonly unknown[]) => Promise<unknown>

/** Returns steps that run through `alter`. */
export function alteredSteps(steps: Steps, alter: Alteration): Steps {
  const altered = <T extends object>(part: T, prefix: string): T => {
    const names = Object.entries(part).map(([name, step]: [string, Step]) => {
      const run: Step = (...given) => alter(`${prefix}${name}`, () => step(...given), given)
      return [name, run]
    })
    return Object.fromEntries(names)
  }
  const { mail, transfers, files, imports, hear, open, [Symbol.asyncDispose]: dispose, ...others } = steps
  const parts = {
    mail: altered(mail, 'mail.'),
    transfers: altered(transfers, 'transfers.'),
    files: altered(files, 'files.'),
    imports: altered(imports, 'imports.'),
  }
  return { ...altered(others, ''), ...parts, hear, open, [Symbol.asyncDispose]: dispose }
}

/**
 * Returns steps whose outcome is unknown every other time, although they take effect. The name of each of these steps is added to
 * `lost`. A notification has no outcome.
 */
export function unansweredSteps(steps: Steps, lost: string[]): Steps {
  const answered = new Set<string>()
  return alteredSteps(steps, async (name, run) => {
    const result = await run()
    if (name === 'tell' || answered.delete(name)) return result
    answered.add(name)
    lost.push(name)
    throw new OutcomeUnknown(`the connection ended before the answer of ${name}`)
  })
}

/** Returns steps without notifications. */
export function quietSteps(steps: Steps): Steps {
  return { ...steps, tell: async () => {} }
}

/** Steps whose connection can be cut. */
export class CutSteps {
  isCut = false

  readonly alter = (steps: Steps): Steps => {
    const heard: Steps['hear'] = (server, listener) => steps.hear(server, (notice) => !this.isCut && listener(notice))
    const altered = alteredSteps(steps, async (name, run) => {
      if (!this.isCut) return run()
      if (name === 'tell') return
      throw new OutcomeUnknown(`there is no connection for ${name}`)
    })
    return { ...altered, hear: heard }
  }
}
