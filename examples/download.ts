// A client that lists its files and downloads one: `node download.ts movie.mp4`.
import { connect } from 'ospd'
import { tcp } from 'ospd/node'

const port = Number(process.env.PORT ?? 6682)
const client = await connect({ to: tcp({ port }), user: 'alice' })
for await (const { name, size } of client.files.list()) console.log(name, size)
const name = process.argv[2] ?? 'movie.mp4'
const download = client.files.download(name, { to: `./${name}.copy` })
download.on('progress', ({ received, size }) => console.log(received, size))
console.log(await download.done)
await client.close()
