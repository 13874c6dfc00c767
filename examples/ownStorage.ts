// A custom storage adapter, tested by the suite of its port: `node ownStorage.ts`.
import { test } from 'node:test'
import type { PartialFile, Storage } from 'ospd'
import { type MemoryOptions, memory } from 'ospd/memory'
import { storageContract } from 'ospd/testing'

/** Stands in for a cipher: applied twice, it returns the original bytes. */
const seal = (bytes: Uint8Array, offset: number) => bytes.map((byte, at) => byte ^ 0x5a ^ ((offset + at) & 0xff))

/** A storage whose files are encrypted. */
function sealed(storage: Storage): Storage {
  const { transfers, mailboxes, files } = storage
  return {
    transfers,
    mailboxes,
    files: {
      open: async (claim) => sealedFile(await files.open(claim)),
      create: (user, content) => files.create(user, [seal(Buffer.concat(content), 0)]),
      remove: (user, name) => files.remove(user, name),
      sweep: (before) => files.sweep(before),
      stored: (user, name) => files.stored(user, name),
      used: (user, name) => files.used(user, name),
      space: () => files.space(),
      heldBytes: (user, name) => files.heldBytes(user, name),
    },
    open: (platform) => storage.open(platform),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

function sealedFile(file: PartialFile): PartialFile {
  return {
    get length() {
      return file.length
    },
    write: (offset, parts) => file.write(offset, [seal(Buffer.concat(parts), offset)]),
    async read(into, offset) {
      const length = await file.read(into, offset)
      into.set(seal(into.subarray(0, length), offset))
      return length
    },
    flush: () => file.flush(),
    truncate: (length) => file.truncate(length),
    publish: (storedName, replace) => file.publish(storedName, replace),
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  }
}

function locationOf(options: MemoryOptions = {}) {
  const below = memory(options)
  return {
    storage: () => sealed(below),
    async read(user: string, name: string) {
      const bytes = below.read(user, name)
      return bytes && Uint8Array.from(seal(bytes, 0))
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function failingLocation() {
  const failing = new Set<object>()
  const failFlushes = async () => {
    const fault = {}
    failing.add(fault)
    return { [Symbol.dispose]: () => void failing.delete(fault) }
  }
  return { ...locationOf({ flushFails: () => failing.size > 0 }), failFlushes }
}

const kind = {
  name: 'sealed',
  location: async () => locationOf(),
  smallLocation: async (capacityBytes: number) => locationOf({ capacityBytes }),
  failingLocation,
}
for (const { subject, name, run, limitMs, skipped } of storageContract(kind)) {
  test(`${subject} ${name}`, { timeout: limitMs, skip: skipped ?? false }, run)
}
