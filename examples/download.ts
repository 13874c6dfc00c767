// A client that lists its files and downloads one: `node download.ts movie.mp4`.
import { connect } from 'ospd'

const port = process.env.PORT ?? 6682
const client = await connect(`ospd://127.0.0.1:${port}`, { user: 'alice' })
for await (const { name, size } of client.files.list()) console.log(name, size)
const name = process.argv[2] ?? 'movie.mp4'
const download = client.files.download(name, { to: `./${name}.copy` })
download.on('progress', ({ received, size }) => console.log(received, size))
console.log(await download.done)
await client.close()
