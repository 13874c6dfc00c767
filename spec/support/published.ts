import assert from 'node:assert/strict'
import type { z } from 'zod/mini'
import { events } from './commands.ts'

/** Returns the events that a command has printed. Fails unless each has its published shape. */
export function published(
  stdout: string,
  shapes: Readonly<Record<string, z.ZodMiniType>>,
): readonly Record<string, unknown>[] {
  return events(stdout).map((each) => {
    const { v, event, ...fields } = each
    assert.equal(v, 1)
    const shape = shapes[String(event)]
    assert.ok(shape, `${event} is not published`)
    shape.parse(fields)
    return each
  })
}
