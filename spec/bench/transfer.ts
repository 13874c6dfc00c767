/**
 * `transfer.ts PORT USER DIGEST FILE...`: sends files with the built SDK and reports, by IPC, the milliseconds of the transfer
 * alone: from the moment the files are passed to the client until all are stored and acknowledged.
 */
import { connect, type DigestName } from 'ospd'
import { file, tcp } from 'ospd/node'

const [port = '', user = '', digest = '', ...paths] = process.argv.slice(2)
const client = await connect(tcp({ port: Number(port) }), { user })
const began = performance.now()
const uploads = await Promise.all(paths.map((path) => client.upload(file(path), { digest: digest as DigestName })))
await Promise.all(uploads.map(({ done }) => done))
process.send?.(performance.now() - began)
await client.close()
process.disconnect?.()
