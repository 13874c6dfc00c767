import { serve } from '../../lib/index.ts'
import { memory } from '../../lib/memory.ts'
import { tcp } from '../../lib/node.ts'

/** A program that lets everybody in at the address that it is given; `insecure` behind it is what the server is told to be. */
const [host = '', insecure] = process.argv.slice(2)
const authenticator = {
  authenticate: async ({ user }: { user: string }) => ({ user }),
  knows: async () => true,
}
const listen = tcp({ host, port: 0 })
const server = await serve({ listen, storage: memory(), authenticator, allowPlaintext: insecure === 'insecure' })
console.log(`ready on ${server.addresses[0]?.port}`)
