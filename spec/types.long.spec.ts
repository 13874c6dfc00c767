import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { place } from './support/commands.ts'
import { root } from './support/source.ts'
import { spec } from './support/spec.ts'

/** Checks every entry point of the package, including the types of its dependencies. */
const program = `
NODE import { createReadStream } from 'node:fs'
NODE import { Readable } from 'node:stream'
import { connect, OspError, type SentFile, serve, type Server, type Upload } from 'ospd'
import { memory, memoryTransport } from 'ospd/memory'
NODE import { disk, file, openTasks, stateDirectory, tcp, tls, usersFile } from 'ospd/node'
NODE import { storageContract } from 'ospd/testing'
const server: Server = await serve({ listen: 6682, storage: memory() })
await serve({ listen: new URL('ospd://[::1]:0'), storage: './data' })
await connect('ospd://host:6682', { user: 'alice' })
server.on('stored', ({ user, replaced }) => [user.length, replaced === true])
const client = await connect(memoryTransport(), { user: 'alice', signal: new AbortController().signal })
NODE const upload: Upload = await client.upload(file('movie.mp4'))
NODE await client.upload(createReadStream('movie.mp4'), { name: 'movie.mp4' })
NODE await client.upload(Readable.from([Buffer.from('x')]), { name: 'x' })
const { signal } = new AbortController()
await client.upload(new Blob(['x']), { name: 'x', signal })
await client.upload(new Uint8Array(4), { name: 'x' })
await client.upload(new Uint16Array(4).buffer, { name: 'x' })
await client.upload(new URL('file:///x'))
const piped = await client.upload(new Blob(['x']).stream(), { name: 'x' })
await Promise.all([piped.pause(), piped.resume(), piped.cancel()])
// @ts-expect-error: a number is not a source.
await client.upload(5)
NODE const stored: SentFile = await upload.done
NODE export const all = [disk, openTasks, stateDirectory, tcp, tls, usersFile, storageContract, stored.digest]
for await (const message of client.messages()) if (message.text() === '') throw new OspError('closed')
const listener = (status: string, error: OspError | undefined) => [status.length, error?.code]
client.on('status', listener).once('status', listener).off('status', listener)
// @ts-expect-error: only on, once and off are public.
client.emit('status', 'online', undefined, undefined)
// @ts-expect-error: there is no such event.
client.on('error', listener)
export type More = [SentFile, Upload]
await client[Symbol.asyncDispose]()
`

const compilers = {
  '5.4': import.meta.resolve('typescript-5.4/bin/tsc'),
  '7.0': import.meta.resolve('typescript/package.json').replace('package.json', 'bin/tsc'),
}

spec('the types of the package', (it) => {
  for (const [version, compiler] of Object.entries(compilers)) {
    for (const [what, types, lib] of [
      ['with the types of Node', ['node'], ['ES2020']],
      ['without them', [], ['ES2022', 'DOM', 'ESNext.Disposable']],
    ] as const) {
      it(`compile in TypeScript ${version} ${what}`, async () => {
        await using at = await place()
        const text = types.length > 0 ? program.replaceAll('NODE ', '') : program.replaceAll(/^NODE .*$/gmu, '')
        await at.write('use.ts', text)
        await at.write('package.json', '{ "type": "module" }')
        const options = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true }
        const how = { target: 'ES2022', module: 'NodeNext', moduleResolution: 'NodeNext', lib, types, ...options }
        await at.write('tsconfig.json', JSON.stringify({ compilerOptions: how, files: ['use.ts'] }))
        mkdirSync(join(at.path, 'node_modules/@types'), { recursive: true })
        symlinkSync(root, join(at.path, 'node_modules/ospd'))
        symlinkSync(join(root, 'node_modules/@types/node'), join(at.path, 'node_modules/@types/node'))
        const args = [fileURLToPath(compiler), '-p', at.path]
        const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
        assert.equal(status, 0, stdout + stderr)
      })
    }
  }
})
