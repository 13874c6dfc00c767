// A client that uploads a file: `node upload.ts movie.mp4`.
import { connect } from 'ospd'

const port = process.env.PORT ?? 6682
const client = await connect(`ospd://127.0.0.1:${port}`, { user: 'alice' })
const upload = await client.upload(process.argv[2] ?? './movie.mp4')
upload.on('progress', ({ acknowledged, durable, size }) => console.log(acknowledged, durable, size))
console.log(await upload.done)
await client.close()
