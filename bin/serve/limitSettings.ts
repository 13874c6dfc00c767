import { type Limit, type Limits, limitTable } from 'ospd'
import { count, duration, optional, percent, type Setting, setting, size } from '../common/settings.ts'

const flagged = Object.entries<Limit>(limitTable).flatMap(([name, limit]) =>
  limit.flag === undefined ? [] : [{ name, limit, flag: limit.flag }],
)

/** The units in which a flag of a kind can be written, the largest first. */
const sizeUnits: Units = { G: 1024 ** 3, M: 1024 ** 2, k: 1024 }
const durationUnits: Units = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 }

type Units = Readonly<Record<string, number>>

/** The settings of `ospd serve` that set a limit of the server, one for each flag in the table of limits. */
export const limitSettings: Readonly<Record<string, Setting<number | undefined>>> = Object.fromEntries(
  flagged.map(({ name, flag, limit }) => [flag, settingOf(name, limit)]),
)

function settingOf(name: string, { default: value, describe }: Limit): Setting<number | undefined> {
  const [kind, units] = kindOf(name)
  // The text in brackets says what happens without the flag.
  return describe.endsWith(']') ? optional(kind, { describe }) : setting(kind, flagText(value, units), { describe })
}

/** Returns how the flag of a limit is read and written, by the unit in the limit's name. */
function kindOf(name: string) {
  if (/ms(?:PerSecond)?$/iu.test(name)) return [duration, durationUnits] as const
  if (/bytes(?:PerSecond)?$/iu.test(name)) return [size, sizeUnits] as const
  return [name.endsWith('Percent') ? percent : count, {}] as const
}

/** Returns a value in the largest unit that divides it. */
function flagText(value: number, units: Units): string {
  const [unit, factor] = Object.entries(units).find(([, factor]) => value % factor === 0) ?? ['', 1]
  return `${value / factor}${unit}`
}

/** Returns the limits that the flags set. */
export function limitsOf(values: object): Partial<Limits> {
  const given = values as Readonly<Record<string, number | undefined>>
  const limits = flagged.flatMap(({ name, flag }) => (given[flag] === undefined ? [] : [[name, given[flag]] as const]))
  return {
    ...Object.fromEntries(limits),
    // Bytes alone decide then.
    ...(given.reserve !== undefined && { reservePercent: 100 }),
  }
}
