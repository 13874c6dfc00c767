/**
 * Writes a partial file of a shared directory until its stdin ends, like a server that does not know that its claim was taken
 * over: `zombieWriter.ts DATA`. Prints `written` after each write. When its stdin ends, writes once more, and then tries to
 * publish and to remove the file. Prints the outcome of each step.
 */
import { ServerClaims, sharedFiles, verifiedAs } from './sharedFiles.ts'

const [, , data = ''] = process.argv
const claims = new ServerClaims(() => true)
const claim = claims.grant(1)
const files = await sharedFiles(data, claims)
const partial = await files.open(claim)
let isStopping = false
process.stdin.resume().on('end', () => {
  isStopping = true
})

const chunk = new Uint8Array(64 * 1024).fill(0x5a)
const outcome = async (step: string, work: () => Promise<unknown>) => {
  const result = await work().catch((error: Error) => (error as { code?: string }).code ?? error.message)
  console.log(`${step}: ${result}`)
}

await partial.write(0, [chunk])
await partial.flush()
console.log('written')
// Overwrites, so that the file does not grow without bound.
while (!isStopping) {
  await partial.write(partial.length > 1024 * 1024 ? 64 * 1024 : partial.length, [chunk])
  await new Promise(setImmediate)
}
await outcome('write', () => partial.write(0, [chunk]))
await outcome('flush', () => partial.flush())
await outcome('truncate', () => partial.truncate(1))
claims.grant(1, verifiedAs(partial.length, '00'))
await outcome('publish', () => partial.publish('a', true))
claims.forget(claim)
claims.token = 2
await outcome('remove', () => files.remove('alice', 'a'))
await files.close()
