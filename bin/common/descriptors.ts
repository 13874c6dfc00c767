import { closeSync, openSync, readFileSync } from 'node:fs'

/** File descriptors that a program needs to read its own modules, and to work. */
export const leastDescriptors = 128

/** How many file descriptors this process may have; `undefined` if the system does not tell. Node raises the soft limit to the hard one. */
export function descriptorLimit(): number | undefined {
  const text = limitText()
  const limit = Number(text)
  return text === undefined || Number.isNaN(limit) ? undefined : limit
}

function limitText(): string | undefined {
  if (process.platform === 'win32') return undefined
  try {
    return /^Max open files\s+(\d+)/mu.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
  } catch {
    // Not Linux.
    const report = process.report?.getReport() as { userLimits?: { open_files?: { soft?: unknown } } } | undefined
    return String(report?.userLimits?.open_files?.soft)
  }
}

/** Whether an error says that no file descriptor is left to this process, or to the system. */
export function isOutOfDescriptors(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException
  return code === 'EMFILE' || code === 'ENFILE'
}

/** Whether a file can be opened now: if not, no connection can be accepted either. */
export function hasDescriptors(): boolean {
  try {
    closeSync(openSync('/dev/null', 'r'))
    return true
  } catch (error) {
    return !isOutOfDescriptors(error)
  }
}
