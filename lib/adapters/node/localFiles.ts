import type { LocalFiles } from '../../ports/localFiles.ts'
import type { OpenSource } from '../../ports/source.ts'
import { readUntilFull } from '../disk/readFull.ts'
import { file } from './fileSource.ts'
import { fileTarget } from './fileTarget.ts'
import { temporaryFile, unbroken } from './temporaryFile.ts'

/** The files of this machine. The content of a stream is copied to the directory for temporary files. */
export const localFiles: LocalFiles = {
  source: async (path, name) => file(path, name === undefined ? {} : { name }),
  target: async (path, options) => fileTarget(path, options),
  async spool(stream, name) {
    const { size, read, close } = await temporaryFile(
      name,
      unbroken(stream),
      'write it to a file, or give the client a state',
    )
    const opened: OpenSource = {
      size,
      modifiedAt: Date.now(),
      read: (into, offset) => readUntilFull(read, into, offset),
      unchanged: async () => true,
      // It can be opened again until it is discarded.
      async [Symbol.asyncDispose]() {},
    }
    return { source: { name, open: async () => opened }, size, discard: close }
  },
}
