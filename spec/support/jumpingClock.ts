/**
 * Preloaded by a Node program whose wall clock is to jump: the clock is ahead of the real one by the number of ms in
 * the file OSPD_SPEC_CLOCK. The monotonic clock, and so every timer, is not changed.
 */
import { readFileSync } from 'node:fs'

const path = process.env.OSPD_SPEC_CLOCK ?? ''
const RealDate = Date

class JumpingDate extends RealDate {
  constructor(...given: [] | [number]) {
    super(...(given.length === 0 ? ([JumpingDate.now()] as const) : given))
  }

  static override now(): number {
    return RealDate.now() + Number(readFileSync(path, 'utf8'))
  }
}

globalThis.Date = JumpingDate as DateConstructor
