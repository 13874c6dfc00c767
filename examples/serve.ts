// A server: `node serve.ts`, until Ctrl-C.
import { serve } from 'ospd'

const port = Number(process.env.PORT ?? 6682)
const server = await serve({ listen: port, storage: './data' })
server.on('stored', ({ user, name, size, digest }) => console.log(user, name, size, digest))
console.log('listening on port', server.addresses[0]?.port)

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => server.close())
await server.closed
