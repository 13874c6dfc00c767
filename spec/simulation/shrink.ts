import type { Part, RunReport } from './simulate.ts'

/** The least that was found to fail, how that has ended, and how many runs it took. */
export interface Least {
  readonly part: Part
  readonly report: RunReport
  readonly runs: number
}

/** Runs that are tried at most. */
const mostRuns = 400

/**
 * Makes a failing run smaller: leaves out actions, then programs, files and lasting faults, for as long as what is
 * left fails as it did, names and numbers aside. Nothing that is left then can be left out alone, unless `mostRuns` are
 * used up.
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
    // Something smaller was found: perhaps there is more to leave out now.
    if (least.part === part) break
    before = Number.POSITIVE_INFINITY
  }
  return { ...least, runs }
}

/** Leaves out of `all` as many as can be, first many at once and then each; `holds` says that too many were. */
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

/** Why a run has failed, without names and numbers, which differ where less happens. */
function kindOf(failure: string | undefined): string | undefined {
  return failure?.replace(/\S*\d\S*/gu, '#')
}
