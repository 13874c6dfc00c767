import type { Part, RunReport } from './simulate.ts'

/** The smallest failing part that was found, its report, and the number of runs. */
export interface Least {
  readonly part: Part
  readonly report: RunReport
  readonly runs: number
}

/** Maximum number of runs. */
const mostRuns = 400

/**
 * Reduces a failing run: leaves out actions, then programs, files and lasting faults, as long as the rest fails in the
 * same way, names and numbers aside. Afterwards no single element can be left out, unless `mostRuns` was reached.
 */
export async function shrink(failed: RunReport, from: Part, run: (part: Part) => Promise<RunReport>): Promise<Least> {
  let least: Least = { part: { ...from, actions: failed.actions }, report: failed, runs: 0 }
  let runs = 0
  const holdsWith = async (part: Part): Promise<boolean> => {
    if (runs >= mostRuns) return true
    runs++
    const report = await run(part)
    if (kindOf(report.failure) !== kindOf(failed.failure)) return true
    least = { part, report, runs }
    return false
  }
  for (let before = Number.POSITIVE_INFINITY; runs < before && runs < mostRuns; ) {
    before = runs
    const { part } = least
    await drop(part.actions ?? [], (actions) => holdsWith({ ...least.part, actions }))
    const names = failed.names.filter((name) => !least.part.without.includes(name))
    const { without } = least.part
    await drop(names, (kept) => {
      return holdsWith({ ...least.part, without: [...without, ...names.filter((name) => !kept.includes(name))] })
    })
    // A smaller part was found, so more may be left out now.
    if (least.part === part) break
    before = Number.POSITIVE_INFINITY
  }
  return { ...least, runs }
}

/**
 * Leaves out as many elements of `all` as possible, first many at once and then one at a time; `holds` returns whether
 * the rest still fails.
 */
async function drop<T>(all: readonly T[], holds: (kept: readonly T[]) => Promise<boolean>): Promise<void> {
  let kept = all
  for (let size = kept.length; size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < kept.length; ) {
      const fewer = [...kept.slice(0, at), ...kept.slice(at + size)]
      if (await holds(fewer)) at += size
      else kept = fewer
    }
  }
}

/** Returns the reason of a failure without names and numbers, which differ in a smaller run. */
function kindOf(failure: string | undefined): string | undefined {
  return failure?.replace(/\S*\d\S*/gu, '#')
}
