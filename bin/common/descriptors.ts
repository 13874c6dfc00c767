import { closeSync, openSync, readFileSync } from 'node:fs'

/** The minimum number of file descriptors that a program needs to load its modules and to run. */
export const leastDescriptors = 128

/**
 * Returns the maximum number of file descriptors of this process, or `undefined` if the system does not report it. Node
 * raises the soft limit to the hard limit.
 */
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

/** Returns whether an error means that this process or the system has run out of file descriptors. */
export function isOutOfDescriptors(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException
  return code === 'EMFILE' || code === 'ENFILE'
}

/** Returns whether a file descriptor is available. Without one, no connection can be accepted either. */
export function hasDescriptors(): boolean {
  try {
    closeSync(openSync('/dev/null', 'r'))
    return true
  } catch (error) {
    return !isOutOfDescriptors(error)
  }
}
