import { renameSync, writeFileSync } from 'node:fs'
import { pathOf, type StartOptions } from './processes.ts'

/** The wall clock of programs that a spec starts. */
export interface WallClock {
  /** Options that start a program with this clock. */
  readonly options: StartOptions
  /** From now on the clock is ahead of the real one by this many ms, or behind. */
  set(aheadMs: number): void
}

/** `path` is the path of a file that is created for it. */
export function wallClock(path: string): WallClock {
  const set = (aheadMs: number) => {
    // Renamed, so that no process reads an incomplete file.
    writeFileSync(`${path}.new`, `${aheadMs}`)
    renameSync(`${path}.new`, path)
  }
  set(0)
  const node = ['--import', 'tsx', '--import', pathOf('spec/support/jumpingClock.ts')]
  return { options: { node, env: { OSPD_SPEC_CLOCK: path } }, set }
}
