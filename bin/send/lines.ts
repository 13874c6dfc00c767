import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { pathText } from 'ospd/node'
import { UsageError } from '../common/usage.ts'

/** Opens the list of `--files-from`; `-` is stdin. Throws UsageError if it can't be opened. */
export async function openList(path: string): Promise<Readable> {
  if (path === '-') return process.stdin
  const stream = createReadStream(path)
  try {
    await once(stream, 'open')
    return stream
  } catch (error) {
    throw new UsageError(`--files-from ${path} cannot be read: ${(error as Error).message}`)
  }
}

const [newline, carriageReturn] = [0x0a, 0x0d]

/**
 * The lines of a stream as they come, without their ends (of Unix or Windows), each as `pathText` writes it; empty ones are left
 * out.
 */
export async function* linesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let parts: Buffer[] = []
  for await (const chunk of stream) {
    let from = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      const line = textOf([...parts, chunk.subarray(from, end)])
      if (line) yield line
      parts = []
      from = end + 1
    }
    parts.push(chunk.subarray(from))
  }
  const last = textOf(parts)
  if (last) yield last
}

function textOf(parts: readonly Buffer[]): string {
  const line = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  return pathText(line.at(-1) === carriageReturn ? line.subarray(0, -1) : line)
}
