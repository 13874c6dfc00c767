// A server with TLS and tokens, and a client that pins its key and uploads a stream: `node secure.ts`.
import { connect, serve } from 'ospd'
import { knownServers, tls, usersFile } from 'ospd/node'

const users = usersFile('./data')
const token = (await users.exists()) ? await users.rotate('alice') : await users.add('alice')
const server = await serve({ listen: 0, tls: 'auto', storage: './data', authenticator: users })

// The key of the server is pinned at the first connection; with a certificate of a known authority, `ospds://host` is enough.
const to = tls({ port: server.addresses[0]?.port ?? 0, trust: knownServers('./known_servers') })
const client = await connect(to, { user: 'alice', token: async () => token, state: './state' })
const greeting = new Blob(['Hello, ', 'world!\n']).stream()
const upload = await client.upload(greeting, { name: 'greeting.txt', signal: AbortSignal.timeout(60_000) })
console.log(await upload.done)

await client.close()
await server.close()
