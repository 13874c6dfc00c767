// A server and a client in one process, with everything in memory, as in your own tests.
import { connect, type FileSource, serve } from 'ospd'
import { memory, memoryTransport } from 'ospd/memory'

const transport = memoryTransport()
const storage = memory()
const server = await serve({ listen: transport, storage })
const client = await connect(transport, { user: 'alice' })

const upload = await client.upload(textFile('greeting.txt', 'Hello!\n'))
const { storedName, digest } = await upload.done
console.log(storedName, digest, storage.read('alice', storedName))

await client.close()
await server.close()

/** A custom source: any object that can be opened and read at an offset. */
function textFile(name: string, text: string): FileSource {
  const bytes = new TextEncoder().encode(text)
  return {
    name,
    open: async () => ({
      size: bytes.length,
      modifiedAt: 0,
      async read(into, offset) {
        const part = bytes.subarray(offset, offset + into.length)
        into.set(part)
        return part.length
      },
      unchanged: async () => true,
      async [Symbol.asyncDispose]() {},
    }),
  }
}
