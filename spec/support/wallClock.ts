import { renameSync, writeFileSync } from 'node:fs'
import { pathOf, type StartOptions } from './processes.ts'

/** The wall clock of programs that a spec starts. */
export interface WallClock {
  /** How a program is started that goes by it. */
  readonly options: StartOptions
  /** From now on it is ahead of the real one by so many ms, or behind. */
  set(aheadMs: number): void
}

/** `path` is that of a file that is made for it. */
export function wallClock(path: string): WallClock {
  const set = (aheadMs: number) => {
    // Renamed, so that nobody reads half of it.
    writeFileSync(`${path}.new`, `${aheadMs}`)
    renameSync(`${path}.new`, path)
  }
  set(0)
  const node = ['--import', 'tsx', '--import', pathOf('spec/support/jumpingClock.ts')]
  return { options: { node, env: { OSPD_SPEC_CLOCK: path } }, set }
}
