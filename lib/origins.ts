/**
 * Returns the key by which the links of an address are counted: the network (/64) of an IPv6 address, because its owner
 * usually has the whole network; the IPv4 address of an address that is mapped into IPv6; otherwise the address itself.
 */
export function originOf(host: string): string {
  const [address = ''] = host.split('%')
  const groups = groupsOf(address)
  if (!groups) return host
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, high = 0, low = 0] = groups
  if (f === 0xffff && a + b + c + d + e === 0) return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.')
  return `${[a, b, c, d].map((group) => group.toString(16)).join(':')}::/64`
}

/** Returns the eight groups of an IPv6 address, or `undefined` for any other text. */
function groupsOf(address: string): readonly number[] | undefined {
  const url = `http://[${address}]`
  if (!/^[\da-f:.]+$/iu.test(address) || !URL.canParse(url)) return undefined
  // A URL has the address in its shortest form, without an IPv4 address at its end.
  const halves = new URL(url).hostname.slice(1, -1).split('::')
  const [left = [], right = []] = halves.map((half) => half.split(':').filter(Boolean))
  const zeros = Array<string>(8 - left.length - right.length).fill('0')
  return [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16))
}
