import type { Limits, LogEntry } from 'ospd'
import { hasDescriptors } from '../common/descriptors.ts'

type Log = (entry: LogEntry) => void

/** Those of the process itself, of records and messages, and of files that are open for a moment. */
const ownDescriptors = 64

/** The limits each of whose units takes a descriptor, with the part of them that it may have; links have the rest. */
const parts = { fileInstances: 1 / 4, parkedUploads: 1 / 16, refusedLinks: 1 / 16, handshakes: 1 / 8 } as const

type Counted = Pick<Limits, keyof typeof parts | 'links'>

/** The limits that fit into so many file descriptors: those in `limits` where all fit, else lower ones. */
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

/** How often is looked whether descriptors are left. */
const lookMs = 1_000

/**
 * Logs once when no file descriptor is left, and once when there are some again. The system refuses connections meanwhile,
 * and Node does not tell it.
 */
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
