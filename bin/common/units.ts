const sizePattern = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/iu
const sizeLetters = ['', 'k', 'm', 'g', 't']

/** Returns the bytes of a size such as `500k`, `10M` or `2G` (k = 1024), or `undefined` if the text is not a size. */
export function parseSize(text: string): number | undefined {
  const [, number, letter = ''] = sizePattern.exec(text) ?? []
  if (number === undefined) return undefined
  const bytes = Math.round(Number(number) * 1024 ** sizeLetters.indexOf(letter.toLowerCase()))
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

const durationPattern = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/u
const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Returns the milliseconds of `500ms`, `30s`, `5m`, `7d` or `0`, or `undefined` if the text is not a duration. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0
  const [, number, unit = ''] = durationPattern.exec(text) ?? []
  if (number === undefined) return undefined
  return Math.round(Number(number) * (unitMs[unit] ?? Number.NaN))
}

const sizeUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** Formats a size with three digits: `999 B`, `1.25 MiB`, `12.3 GiB`. */
export function formatSize(bytes: number): string {
  const power = powerOf(bytes)
  return `${threeDigits(bytes, power)} ${sizeUnits[power]}`
}

/** Formats a part of a size in the unit of the whole: `3.2 of 12.3 MiB`. */
export function formatPart(part: number, whole: number): string {
  return `${threeDigits(part, powerOf(whole))} of ${formatSize(whole)}`
}

function powerOf(bytes: number): number {
  let power = 0
  // 999.5 would be printed with four digits.
  while (bytes / 1024 ** power >= 999.5 && power < sizeUnits.length - 1) power++
  return power
}

function threeDigits(bytes: number, power: number): string {
  const value = bytes / 1024 ** power
  if (power === 0) return String(Math.round(value))
  if (value < 9.995) return value.toFixed(2)
  return value < 99.95 ? value.toFixed(1) : value.toFixed(0)
}

/** Returns a part of a size in whole percent. */
export function percentOf(part: number, whole: number): number {
  return Math.floor((100 * part) / Math.max(whole, 1))
}

/** Formats a time, in seconds to days: `8 s`, `1:05`, `2:03:10`, `3 d`. */
export function formatTime(ms: number): string {
  const seconds = Math.ceil(ms / 1_000)
  if (seconds < 60) return `${seconds} s`
  if (seconds >= 2 * 86_400) return `${Math.round(seconds / 86_400)} d`
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0')
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`
  return `${Math.floor(seconds / 3_600)}:${two((seconds % 3_600) / 60)}:${two(seconds % 60)}`
}

/** Formats a date in local time with its offset from UTC, as in ISO 8601: `2026-03-01T12:34:56+01:00`. */
export function localTime(at: Date): string {
  const offset = -at.getTimezoneOffset()
  const local = new Date(at.getTime() + offset * 60_000)
  // The local time of the last representable dates is out of range.
  if (Number.isNaN(local.getTime())) return `${at.toISOString().slice(0, -5)}Z`
  const parts = [Math.trunc(Math.abs(offset) / 60), Math.abs(offset) % 60]
  const time = parts.map((part) => String(part).padStart(2, '0')).join(':')
  return `${local.toISOString().slice(0, -5)}${offset < 0 ? '-' : '+'}${time}`
}
