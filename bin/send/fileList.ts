import { open } from 'node:fs/promises'
import { OspError } from 'ospd'
import { pathBytes, pathText } from 'ospd/node'
import { unreadable } from '../common/files.ts'
import { readInput } from '../common/input.ts'
import { UsageError } from '../common/usage.ts'

/** Opens the list of `--files-from`; `-` is stdin. Reading it rejects when `signal` aborts. Throws UsageError if it cannot be opened. */
export async function openList(path: string, signal?: AbortSignal): Promise<AsyncIterable<Buffer>> {
  if (path === '-') return readInput(signal)
  try {
    const file = await open(pathBytes(path))
    if (!(await file.stat()).isDirectory()) {
      const stream = file.createReadStream()
      signal?.addEventListener('abort', () => stream.destroy(), { once: true })
      return stream
    }
    await file.close()
  } catch (error) {
    throw unreadable('--files-from', path, error)
  }
  throw new UsageError(`--files-from ${path} is a directory; specify a file with a path on each line`)
}

/** The maximum length of a name. Every path is shorter. */
const mostBytes = 64 * 1024

const ends = { line: 0x0a, nul: 0 } as const

/**
 * Yields the names in a list as they arrive, each encoded as by `pathText`. A name ends with a newline (Unix or
 * Windows), or with NUL if `from0` is set. Skips empty names and a leading byte order mark. Throws OspError `usage` if
 * the list has another format, and `source-unreadable` if it cannot be read.
 */
export async function* namesIn(list: AsyncIterable<Uint8Array>, from0 = false): AsyncGenerator<string> {
  let isFirst = true
  for await (const bytes of partsOf(list, from0 ? ends.nul : ends.line)) {
    const name = isFirst ? withoutMark(bytes) : bytes
    isFirst = false
    if (name.includes(0)) throw new OspError('usage', 'it contains NUL; add --from0 if its names end with NUL')
    const shown = !from0 && name.at(-1) === 0x0d ? name.subarray(0, -1) : name
    if (shown.length > 0) yield pathText(shown)
  }
}

async function* partsOf(list: AsyncIterable<Uint8Array>, end: number): AsyncGenerator<Buffer> {
  let rest: Buffer[] = []
  let length = 0
  try {
    for await (const part of list) {
      let begin = 0
      for (let at = part.indexOf(end); at >= 0; at = part.indexOf(end, begin)) {
        yield Buffer.concat([...rest, part.subarray(begin, at)])
        rest = []
        begin = at + 1
      }
      if (begin < part.length) rest.push(Buffer.from(part.subarray(begin)))
      length = begin > 0 ? part.length - begin : length + part.length
      if (length > mostBytes) throw new OspError('usage', `a name in it has more than ${mostBytes} bytes`)
    }
  } catch (cause) {
    if (cause instanceof OspError) throw cause
    throw new OspError('source-unreadable', `it cannot be read: ${(cause as Error).message}`, { cause })
  }
  yield Buffer.concat(rest)
}

function withoutMark(bytes: Buffer): Buffer {
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  if (isUtf16) throw new OspError('usage', 'it is in UTF-16; save it in UTF-8')
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes
}
