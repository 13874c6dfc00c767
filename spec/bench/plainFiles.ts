/**
 * The fastest plain Node program that stores small files. One connection carries all frames, with up to 8 blocks of files
 * unanswered. Each file is checked with XXH128, written under another name, flushed and renamed before it is answered. The
 * directory is flushed once for all files that arrive together. `plainFiles.ts receive DIRECTORY` sends its port by IPC;
 * `plainFiles.ts send PORT DIRECTORY` sends the files of a directory.
 *
 * A frame is the length of the content (4 bytes), that of the name (1), the digest of the content (16), the name, and the
 * content. Each stored file is answered with one byte.
 */
import { closeSync, fstatSync, fsyncSync, openSync, readdirSync, readSync, renameSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { directStream } from '../../lib/adapters/net/directSocket.ts'
import { KiB, MiB } from '../../lib/limits.ts'

const [mode, ...rest] = process.argv.slice(2)
const headBytes = 21
const blockBytes = MiB + 512
const digestOf: (bytes: Uint8Array) => Uint8Array = createRequire(import.meta.url)('xxhash-addon').XXHash128.hash

/** Receives files in one buffer, and stores those that are complete. */
class Receiver {
  readonly #directory: string
  readonly #place: number
  readonly #buffer = Buffer.allocUnsafeSlow(2 * blockBytes)
  #filled = 0

  constructor(directory: string) {
    this.#directory = directory
    this.#place = openSync(directory, 'r')
  }

  /** A long file is received alone, so that no bytes after it must be moved. */
  get target(): Uint8Array {
    const length = this.#filled < headBytes ? 0 : this.#lengthAt(0)
    return this.#buffer.subarray(this.#filled, length < 64 * KiB ? this.#buffer.length : length)
  }

  /** Takes bytes that were read into the target. Returns the number of files that were stored. */
  received(length: number): number {
    this.#filled += length
    let at = 0
    let count = 0
    while (at + headBytes <= this.#filled && at + this.#lengthAt(at) <= this.#filled) {
      const next = at + this.#lengthAt(at)
      this.#store(at, next)
      at = next
      count++
    }
    if (count > 0) fsyncSync(this.#place)
    this.#buffer.copyWithin(0, at, this.#filled)
    this.#filled -= at
    return count
  }

  #lengthAt(at: number): number {
    return headBytes + (this.#buffer[at + 4] ?? 0) + this.#buffer.readUInt32BE(at)
  }

  #store(at: number, end: number): void {
    const from = at + headBytes + (this.#buffer[at + 4] ?? 0)
    const name = this.#buffer.toString('utf8', at + headBytes, from)
    const digest = digestOf(this.#buffer.subarray(from, end))
    if (this.#buffer.compare(digest, 0, 16, at + 5, at + headBytes) !== 0) throw new Error(`${name} arrived damaged`)
    const path = join(this.#directory, name)
    const file = openSync(`${path}.part`, 'wx', 0o600)
    writeSync(file, this.#buffer, from, end - from, 0)
    fsyncSync(file)
    closeSync(file)
    renameSync(`${path}.part`, path)
  }
}

async function receive(directory: string): Promise<number> {
  const server = createServer({ noDelay: true, pauseOnConnect: true }, (accepted) => {
    const receiver = new Receiver(directory)
    const direct = directStream(accepted, receiver.target)
    direct?.use({
      get target() {
        return receiver.target
      },
      received(_target, length) {
        const stored = receiver.received(length)
        if (stored > 0) direct.stream.write(Buffer.alloc(stored))
        return true
      },
    })
    direct?.stream.on('end', () => direct.stream.end()).resume()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** Fills a block with files until it is long enough for one write. Returns the number of files and of bytes. */
function fill(block: Buffer, directory: string, names: string[]): { files: number; length: number } {
  let length = 0
  let files = 0
  while (names.length > 0 && length < 64 * KiB) {
    const name = names.pop() ?? ''
    const file = openSync(join(directory, name), 'r')
    const { size } = fstatSync(file)
    const from = length + headBytes + block.write(name, length + headBytes)
    if (from + size > block.length) throw new Error(`${name} is too long`)
    readSync(file, block, from, size, 0)
    closeSync(file)
    block.writeUInt32BE(size, length)
    block[length + 4] = from - length - headBytes
    block.set(digestOf(block.subarray(from, from + size)), length + 5)
    length = from + size
    files++
  }
  return { files, length }
}

function send([port = '', directory = '']: readonly string[]): void {
  const names = readdirSync(directory)
  const blocks = Array.from({ length: 4 }, () => Buffer.allocUnsafeSlow(2 * blockBytes))
  /** The number of files of each block that is not answered. */
  const unanswered: number[] = []
  const socket = connect({ port: Number(port), host: '127.0.0.1', noDelay: true })
  const more = () => {
    const block = unanswered.length < 8 && names.length > 0 ? blocks.pop() : undefined
    if (!block) return
    const { files, length } = fill(block, directory, names)
    unanswered.push(files)
    socket.write(block.subarray(0, length), () => {
      blocks.push(block)
      more()
    })
    more()
  }
  socket.on('connect', more).on('data', ({ length }) => {
    for (let left = length; left > 0 && unanswered.length > 0; ) {
      const taken = Math.min(left, unanswered[0] ?? 0)
      unanswered[0] = (unanswered[0] ?? 0) - taken
      left -= taken
      if (unanswered[0] === 0) unanswered.shift()
    }
    if (unanswered.length === 0 && names.length === 0) socket.end()
    else more()
  })
  socket.on('close', () => process.exit(unanswered.length))
}

if (mode === 'receive') {
  process.send?.(await receive(rest[0] ?? ''))
  process.on('disconnect', () => process.exit())
} else send(rest)
