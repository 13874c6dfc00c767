import { connect } from 'ospd'
import { tcp } from 'ospd/node'
import { memorySource } from './memorySource.ts'

/** The modification time of the files that `storeFiles` stores. */
export const storedModifiedAt = 1_600_000_000_000

/** Stores files on a server as alice. */
export async function storeFiles(port: number, files: Readonly<Record<string, Uint8Array | string>>): Promise<void> {
  await using client = await connect(tcp({ port }), { user: 'alice' })
  for (const [name, content] of Object.entries(files)) {
    const source = memorySource(name, Buffer.from(content as string), storedModifiedAt)
    await (await client.upload(source)).done
  }
}
