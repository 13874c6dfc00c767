import { BlockList, isIP, isIPv6 } from 'node:net'
import { withoutZone } from '../addresses.ts'

/** The prefix of an IPv4 address in the form of an IPv6 address. A listener for IPv6 reports IPv4 peers in this form. */
const mapped = /^::ffff:(?=\d+\.)/iu

/** Returns whether a text is an IP address, such as `10.0.0.1`, or a network, such as `10.0.0.0/24` or `2001:db8::/32`. */
export function isNetwork(text: string): boolean {
  const { address, length = '0', more } = partsOf(text)
  if (isIP(address) === 0 || more !== undefined || /%/u.test(address) || mapped.test(address)) return false
  return /^(?:0|[1-9]\d{0,2})$/u.test(length) && Number(length) <= bitsOf(address)
}

/** Returns a function that checks whether an address is in one of these networks, each of which `isNetwork` accepts. */
export function networkCheck(networks: readonly string[]): (host: string) => boolean {
  if (networks.length === 0) return () => false
  // One list of both would match IPv4 addresses with networks such as ::/0.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const network of networks) {
    const { address, length = bitsOf(address) } = partsOf(network)
    lists[familyOf(address)].addSubnet(address, Number(length), familyOf(address))
  }
  return (host) => {
    const address = withoutZone(host).replace(mapped, '')
    return isIP(address) !== 0 && lists[familyOf(address)].check(address, familyOf(address))
  }
}

function partsOf(network: string) {
  const [address = '', length, more] = network.split('/')
  return { address, length, more }
}

const bitsOf = (address: string) => (isIPv6(address) ? 128 : 32)

const familyOf = (address: string) => (isIPv6(address) ? 'ipv6' : 'ipv4')
