import { OspError } from 'ospd'
import { pathBytes } from 'ospd/node'

/** The longest content that a message can have, in bytes. */
const mostBytes = 64 * 1024

/**
 * Returns the content of a message from the operand TEXT; `-` means all of stdin. Throws OspError `too-large`, and
 * errors of reading stdin.
 */
export async function contentOf(text: string, stdin: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const content = text === '-' ? await readAll(stdin) : Buffer.from(pathBytes(text))
  if (content.length > mostBytes) throw tooLarge()
  return content
}

async function readAll(stdin: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of stdin) {
    parts.push(part)
    bytes += part.length
    // Content that is too long need not be read to its end.
    if (bytes > mostBytes) break
  }
  return Buffer.concat(parts)
}

function tooLarge(): OspError {
  return new OspError('too-large', 'a message has at most 64 KiB; send a file with "osp send"')
}
