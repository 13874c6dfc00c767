import { z } from 'zod'
import { OspError } from './errors.ts'
import { defaultLimits, fixed, KiB, type Limits, MiB } from './limits.ts'

/** What limits can be beyond "a positive whole number": the room of their field on the wire decides, or `fixed`. */
const ranges: { readonly [K in keyof Limits]?: readonly [least: number, most: number] } = {
  keepAliveMs: [fixed.leastKeepAliveMs, fixed.mostKeepAliveMs],
  chunkBytes: [1, 256 * MiB],
  entryBytes: [0, 256 * MiB],
  windowBytes: [1, 0xffff_ffff],
  fileInstances: [1, 0xffff],
  uploadsPerLink: [1, 0xffff],
  recipients: [1, 0xffff],
  clients: [1, fixed.clientsMost],
  gatherMs: [1, 50],
  deliveryWindow: [1, fixed.deliveriesMost],
  bytesPerSecond: [64 * KiB, Number.MAX_SAFE_INTEGER],
  reserveBytes: [0, Number.MAX_SAFE_INTEGER],
  reservePercent: [0, 100],
  senderSharePercent: [1, 100],
  messageIdMs: [1, 0xffff_ffff * 1_000],
  uploadAgeMs: [1_000, Number.MAX_SAFE_INTEGER],
  retryAfterMs: [1, 0xffff_ffff],
}

const rangeOf = (name: keyof Limits) => ranges[name] ?? ([1, Number.MAX_SAFE_INTEGER] as const)

const limitsSchema = z.strictObject(
  Object.fromEntries(
    (Object.keys(defaultLimits) as (keyof Limits)[]).map((name) => {
      const [least, most] = rangeOf(name)
      return [name, z.number().int().min(least).max(most).default(defaultLimits[name])]
    }),
  ),
)

/** The defaults with `chosen` in place of some. Throws OspError `usage` that names each that can't be a limit, and why. */
export function limitsWith(chosen: Partial<Limits> = {}): Limits {
  const result = limitsSchema.safeParse(chosen)
  if (result.success) return result.data as Limits
  const faults = result.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((name) => `limits.${name} is not known`)
      : [wrongLimit(issue.path.join('.'), chosen)],
  )
  throw new OspError('usage', faults.join('; '))
}

function wrongLimit(name: string, chosen: Partial<Limits>): string {
  if (!(name in defaultLimits)) return 'limits are an object of numbers'
  const value: unknown = chosen[name as keyof Limits]
  const shown =
    typeof value === 'string' ? JSON.stringify(value) : Object(value) === value ? 'an object' : String(value)
  const [least, most] = rangeOf(name as keyof Limits)
  return `limits.${name} cannot be ${shown}: it is a whole number from ${least} to ${most}`
}
