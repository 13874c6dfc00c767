// A client that uploads a file: `node upload.ts movie.mp4`, with the server of serve.ts.
import { createClient } from 'ospd'

const client = createClient(`ospd://127.0.0.1:${process.env.PORT ?? 6682}`, { user: 'alice' })
client.on('status', (status, error) => status === 'waiting' && console.error(error?.message))
const upload = await client.upload(process.argv[2] ?? './movie.mp4')
upload.on('progress', ({ acknowledged, durable, size }) => console.log(acknowledged, durable, size))
console.log(await upload.done)
await client.close()
