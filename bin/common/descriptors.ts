import { closeSync, openSync, readFileSync } from 'node:fs'
import type { Limits, Log } from 'ospd'

/** The minimum number of file descriptors that a program needs to load its modules and to run. */
export const leastDescriptors = 128

/** Returns the limit of file descriptors, which Node raises to the hard limit, or `undefined` if it is unknown. */
export function descriptorLimit(): number | undefined {
  if (process.platform === 'win32') return undefined
  const limit = Number(limitText())
  return Number.isNaN(limit) ? undefined : limit
}

function limitText(): unknown {
  try {
    return /^Max open files\s+(\d+)/mu.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
  } catch {
    // Not Linux.
    const report = process.report?.getReport() as { userLimits?: { open_files?: { soft?: unknown } } } | undefined
    return report?.userLimits?.open_files?.soft
  }
}

/** Returns whether an error means that this process or the system has run out of file descriptors. */
export function isOutOfDescriptors(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException
  return code === 'EMFILE' || code === 'ENFILE'
}

/** Returns whether a file descriptor is available. Without one, no connection can be accepted either. */
function hasDescriptors(): boolean {
  try {
    closeSync(openSync('/dev/null', 'r'))
    return true
  } catch (error) {
    return !isOutOfDescriptors(error)
  }
}

/** Descriptors that are reserved for the process itself, records, messages, and files that are open briefly. */
const ownDescriptors = 64

/** Limits whose units take one descriptor each, with their shares of the descriptors. Links get the rest. */
const parts = {
  fileInstances: 1 / 4,
  parkedUploads: 1 / 16,
  refusedLinks: 1 / 16,
  handshakes: 1 / 16,
  pendingLinks: 1 / 16,
} as const

type Counted = Pick<Limits, keyof typeof parts | 'links'>

/** Returns limits that fit into this number of file descriptors: `limits` if they fit, otherwise lower ones. */
export function withinDescriptors(limits: Counted, descriptors: number): Counted {
  const names = Object.keys(parts) as (keyof typeof parts)[]
  const sum = (of: Counted) => names.reduce((total, name) => total + of[name], 0)
  const there = Math.max(0, descriptors - ownDescriptors)
  if (limits.links + sum(limits) <= there) return limits
  const lower = { ...limits }
  for (const name of names) lower[name] = Math.max(1, Math.min(limits[name], Math.floor(there * parts[name])))
  lower.links = Math.max(1, Math.min(limits.links, there - sum(lower)))
  return lower
}

const lookMs = 1_000

/** Logs when file descriptors run out, since connections are then refused unnoticed, and when some are free again. */
export function watchDescriptors(log: Log): Disposable {
  let areLeft = true
  const timer = setInterval(() => {
    if (hasDescriptors() === areLeft) return
    areLeft = !areLeft
    if (areLeft) log({ level: 'info', event: 'descriptors-free' })
    else {
      const text = 'connections are refused and files cannot be opened; raise the limit (ulimit -n)'
      log({ level: 'error', event: 'descriptors-used-up', text })
    }
  }, lookMs)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}
