import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { UsageError } from '../common/usage.ts'

/** Opens the list of `--files-from`; `-` is stdin. Throws UsageError if it can't be opened. */
export async function openList(path: string): Promise<Readable> {
  if (path === '-') return process.stdin.setEncoding('utf8')
  const stream = createReadStream(path, 'utf8')
  try {
    await once(stream, 'open')
    return stream
  } catch (error) {
    throw new UsageError(`--files-from ${path} cannot be read: ${(error as Error).message}`)
  }
}

/** The lines of a stream as they come, without their ends (of Unix or Windows); empty ones are left out. */
export async function* linesOf(stream: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = ''
  for await (const text of stream) {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    yield* lines.map(withoutReturn).filter(Boolean)
  }
  if (withoutReturn(rest)) yield withoutReturn(rest)
}

const withoutReturn = (line: string) => line.replace(/\r$/u, '')
