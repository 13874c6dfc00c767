const groups = 8

/**
 * What the links of one peer are counted by: an IPv6 address by its network (/64), since whoever has one address has all of
 * these; an IPv4 address that is mapped into IPv6 as what it is; anything else by itself.
 */
export function originOf(host: string): string {
  const [address = ''] = host.split('%')
  const parts = address.includes(':') ? groupsOf(address) : undefined
  if (!parts) return host
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, high = 0, low = 0] = parts
  if (f === 0xffff && a + b + c + d + e === 0) return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.')
  return `${[a, b, c, d].map((group) => group.toString(16)).join(':')}::/64`
}

/** The eight groups of an IPv6 address; `undefined` if it is none. */
function groupsOf(address: string): readonly number[] | undefined {
  const halves = address.split('::').map((half) => half.split(':').filter(Boolean).flatMap(numbersOf))
  const [left = [], right] = halves
  const missing = groups - left.length - (right?.length ?? 0)
  const all = right ? [...left, ...Array<number>(Math.max(0, missing)).fill(0), ...right] : left
  return halves.length <= 2 && all.length === groups && all.every(Number.isInteger) ? all : undefined
}

/** Of one group, or of the two that an IPv4 address at the end is. */
function numbersOf(text: string): readonly number[] {
  const quad = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/u.exec(text)?.slice(1).map(Number)
  if (!quad) return [/^[\da-f]{1,4}$/iu.test(text) ? Number.parseInt(text, 16) : Number.NaN]
  const [a = 0, b = 0, c = 0, d = 0] = quad
  return [a * 256 + b, c * 256 + d]
}
