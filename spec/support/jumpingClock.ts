/**
 * What a Node program loads first whose wall clock is to jump: it is ahead of the real one by as many ms as the file says
 * that OSPD_SPEC_CLOCK names. The monotonic clock, and so every timer, is left alone.
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
