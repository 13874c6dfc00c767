import type { Readable } from 'node:stream'
import { OspError } from 'ospd'

/** The longest content that a message can have, in bytes. */
const mostBytes = 64 * 1024

/**
 * The content of a message from the operand TEXT, where `-` stands for all of stdin. Throws OspError `too-large`, or
 * `source-unreadable`.
 */
export async function contentOf(text: string, stdin: Readable): Promise<Uint8Array> {
  const content = text === '-' ? await readAll(stdin) : new TextEncoder().encode(text)
  if (content.length > mostBytes) throw tooLarge()
  return content
}

async function readAll(stdin: Readable): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const part of stdin) {
      parts.push(part)
      bytes += part.length
      // What is too much need not be read to its end.
      if (bytes > mostBytes) break
    }
  } catch (cause) {
    throw new OspError('source-unreadable', `stdin cannot be read: ${(cause as Error).message}`, { cause })
  }
  return Buffer.concat(parts)
}

function tooLarge(): OspError {
  return new OspError('too-large', 'a message has at most 64 KiB; send a file with "osp send"')
}
