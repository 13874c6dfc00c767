const groups = 8

/**
 * Returns the key by which the links of an address are counted: the network (/64) of an IPv6 address, because its owner
 * usually has the whole network; the IPv4 address of an address that is mapped into IPv6; otherwise the address itself.
 */
export function originOf(host: string): string {
  const [address = ''] = host.split('%')
  const parts = address.includes(':') ? groupsOf(address) : undefined
  if (!parts) return host
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, high = 0, low = 0] = parts
  if (f === 0xffff && a + b + c + d + e === 0) return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.')
  return `${[a, b, c, d].map((group) => group.toString(16)).join(':')}::/64`
}

/** Returns the eight groups of an IPv6 address, or `undefined` for any other text. */
function groupsOf(address: string): readonly number[] | undefined {
  const halves = address.split('::').map((half) => half.split(':').filter(Boolean).flatMap(numbersOf))
  const [left = [], right] = halves
  const missing = groups - left.length - (right?.length ?? 0)
  const all = right ? [...left, ...Array<number>(Math.max(0, missing)).fill(0), ...right] : left
  return halves.length <= 2 && all.length === groups && all.every(Number.isInteger) ? all : undefined
}

/** Returns the number of a group, or the two numbers of an IPv4 address at the end. */
function numbersOf(text: string): readonly number[] {
  const quad = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/u.exec(text)?.slice(1).map(Number)
  if (!quad) return [/^[\da-f]{1,4}$/iu.test(text) ? Number.parseInt(text, 16) : Number.NaN]
  const [a = 0, b = 0, c = 0, d = 0] = quad
  return [a * 256 + b, c * 256 + d]
}
