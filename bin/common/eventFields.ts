import * as z from 'zod/mini'

const string = (meaning: string) => z.string().check(z.describe(meaning))
const whole = (meaning: string) => z.int().check(z.describe(meaning))
const event = <T extends z.core.$ZodShape>(meaning: string, fields: T) =>
  z.strictObject(fields).check(z.describe(meaning))

const bytes = z.int().check(z.minimum(0))
const count = z.int().check(z.minimum(0))

/** The parts of the schemas of events. */
export const eventFields = { string, whole, event, bytes, count } as const
