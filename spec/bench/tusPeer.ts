/**
 * The tus peer: `tusPeer.ts serve PACKAGES DIRECTORY HOST` sends its port by IPC; `tusPeer.ts send PACKAGES PORT AT_ONCE HOST
 * FILE...` sends the milliseconds of the transfer. PACKAGES is the directory whose node_modules has the packages of tus.
 */
import { createReadStream, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { basename, join } from 'node:path'

const [mode, packages = '', ...rest] = process.argv.slice(2)
const { resolve: pathOf } = createRequire(join(packages, 'package.json'))

async function serve([directory = '', host = '']: readonly string[]): Promise<number> {
  const { Server } = await import(pathOf('@tus/server'))
  const { FileStore } = await import(pathOf('@tus/file-store'))
  const server = new Server({ path: '/files', datastore: new FileStore({ directory }) })
  const http = server.listen({ port: 0, host })
  await new Promise((resolve) => http.once('listening', resolve))
  return (http.address() as AddressInfo).port
}

async function send([port = '', atOnce = '', host = '', ...paths]: readonly string[]): Promise<number> {
  const { Upload } = await import(pathOf('tus-js-client'))
  const began = performance.now()
  const sendFile = (path: string) =>
    new Promise<void>((resolve, reject) => {
      const upload = new Upload(createReadStream(path), {
        endpoint: `http://${host}:${port}/files`,
        uploadSize: statSync(path).size,
        metadata: { filename: basename(path) },
        retryDelays: null,
        storeFingerprintForResuming: false,
        onError: reject,
        onSuccess: () => resolve(),
      })
      upload.start()
    })
  const waiting = [...paths]
  const sender = async () => {
    for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) await sendFile(path)
  }
  await Promise.all(Array.from({ length: Number(atOnce) }, sender))
  return performance.now() - began
}

if (mode === 'serve') {
  process.send?.(await serve(rest))
  process.on('disconnect', () => process.exit())
} else {
  process.send?.(await send(rest))
  process.exit()
}
