import { serve } from '../../lib/index.ts'
import { memory } from '../../lib/memory.ts'
import { tcp } from '../../lib/node.ts'

/**
 * A program that accepts every client at the given address; a second argument `allowPlaintext` sets that option of the
 * server.
 */
const [host = '', allows] = process.argv.slice(2)
const authenticator = {
  authenticate: async ({ user }: { user: string }) => ({ user }),
  knows: async () => true,
}
const listen = tcp({ host, port: 0 })
const server = await serve({ listen, storage: memory(), authenticator, allowPlaintext: allows === 'allowPlaintext' })
console.log(`ready on ${server.addresses[0]?.port}`)
