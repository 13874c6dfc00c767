// A client that lists its files and downloads one: `node download.ts movie.mp4`, with the server of serve.ts.
import { createClient } from 'ospd'

const client = createClient(`ospd://127.0.0.1:${process.env.PORT ?? 6682}`, { user: 'alice' })
client.on('status', (status, error) => status === 'waiting' && console.error(error?.message))
for await (const { name, size } of client.files.list()) console.log(name, size)
const name = process.argv[2] ?? 'movie.mp4'
const download = client.files.download(name, { to: `./${name}.copy` })
download.on('progress', ({ received, size }) => console.log(received, size))
console.log(await download.done)
await client.close()
