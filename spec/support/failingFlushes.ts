import { constants } from 'node:fs'
import { type FileHandle, open, readFile } from 'node:fs/promises'
import { quickCalls } from '../../lib/adapters/disk/quickCalls.ts'

type Call = (this: FileHandle, ...args: unknown[]) => Promise<unknown>

/**
 * Makes flushes in this process fail as on a broken disk: those for whose number, from 1, `fails` returns true. A flush
 * is an fdatasync, or a write to a file opened with O_DSYNC, which writes its data even if it fails. A file that is created
 * with O_DSYNC gets no data if its flush fails.
 */
export async function failingFlushes(
  directory: string,
  fails: (nth: number) => boolean,
  errno = 'EIO',
): Promise<Disposable> {
  // All file handles share one prototype.
  const handle = await open(directory)
  const shared: { datasync: Call; write: Call } = Object.getPrototypeOf(handle)
  await handle.close()
  const { datasync, write } = shared
  let count = 0
  const flush = (name: string) => {
    if (fails(++count)) throw Object.assign(new Error(`${errno}: ${name}`), { code: errno })
  }
  shared.datasync = async function (this: FileHandle) {
    flush('fdatasync')
    await datasync.call(this)
  }
  shared.write = async function (this: FileHandle, ...args: unknown[]) {
    const isFlushed = await writesDurably(this)
    const result = await write.apply(this, args)
    if (isFlushed) flush('write')
    return result
  }
  const { open: openFile, write: writeFile, create } = quickCalls
  /** The descriptors of files whose flush was counted when they were opened. */
  const counted = new Set<number>()
  quickCalls.open = async (path, flags, mode) => {
    const isDurable = process.platform === 'linux' && (flags & constants.O_DSYNC) !== 0
    const isFailing = isDurable && fails(++count)
    const fd = await openFile(path, isFailing ? (flags & ~constants.O_WRONLY) | constants.O_RDONLY : flags, mode)
    if (isDurable) counted.add(fd)
    else counted.delete(fd)
    return fd
  }
  quickCalls.write = async (fd, ...args) => {
    const isFlushed = !counted.has(fd) && (await writesDurably({ fd }))
    const result = await writeFile(fd, ...args)
    if (isFlushed) flush('write')
    return result
  }
  // Creates files with the calls above.
  quickCalls.create = (_path, _content, _modified, elsewhere) => elsewhere()
  return {
    [Symbol.dispose]() {
      Object.assign(shared, { datasync, write })
      Object.assign(quickCalls, { open: openFile, write: writeFile, create })
    },
  }
}

async function writesDurably({ fd }: Pick<FileHandle, 'fd'>): Promise<boolean> {
  if (process.platform !== 'linux') return false
  const [, flags = '0'] = /^flags:\s*(\d+)$/mu.exec(await readFile(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? []
  return (Number.parseInt(flags, 8) & constants.O_DSYNC) !== 0
}
