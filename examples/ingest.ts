// A server that stores files in the folder `inbox`, and imports each file, even one stored before a crash: `node ingest.ts`.
import { serve } from 'ospd'

const port = Number(process.env.PORT ?? 6682)
const server = await serve({
  listen: port,
  storage: './data',
  onUpload: ({ name, size }) => (size > 1e9 ? { refuse: 'too large to import' } : { name: `inbox/${name}` }),
  async onStored(file, { attempt }) {
    let lines = 0
    for await (const part of file.content()) lines += part.filter((byte) => byte === 10).length
    // If this function throws, it is called again for the same file.
    console.log(`${file.user} ${file.name} ${lines} lines, attempt ${attempt}`)
  },
})
console.log('listening on port', server.addresses[0]?.port)
