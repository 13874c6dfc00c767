import { serve } from '../../lib/index.ts'
import { memory } from '../../lib/memory.ts'
import { tcp } from '../../lib/node.ts'

/**
 * A program that accepts every client at the given address; a second argument `insecure` sets that option of the
 * server.
 */
const [host = '', insecure] = process.argv.slice(2)
const authenticator = {
  authenticate: async ({ user }: { user: string }) => ({ user }),
  knows: async () => true,
}
const listen = tcp({ host, port: 0 })
const server = await serve({ listen, storage: memory(), authenticator, allowPlaintext: insecure === 'insecure' })
console.log(`ready on ${server.addresses[0]?.port}`)
