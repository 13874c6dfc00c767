const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** A size for people, with up to three digits: `999 bytes`, `1.25 MiB`. */
export function sizeText(bytes: number): string {
  let power = 0
  while (bytes / 1024 ** power >= 999.5 && power < units.length - 1) power++
  return `${Number((bytes / 1024 ** power).toPrecision(3))} ${units[power]}`
}
