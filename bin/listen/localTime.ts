/** A moment in local time with its offset from UTC, after ISO 8601: `2026-03-01T12:34:56+01:00`. */
export function localTime(at: Date): string {
  const offset = -at.getTimezoneOffset()
  const local = new Date(at.getTime() + offset * 60_000)
  // A moment at the very end of what a Date can hold has no local time.
  if (Number.isNaN(local.getTime())) return `${at.toISOString().slice(0, -5)}Z`
  const [hours, minutes] = [Math.trunc(Math.abs(offset) / 60), Math.abs(offset) % 60].map(twoDigits)
  return `${local.toISOString().slice(0, -5)}${offset < 0 ? '-' : '+'}${hours}:${minutes}`
}

const twoDigits = (number: number) => String(number).padStart(2, '0')
