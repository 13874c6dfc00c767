/**
 * The process of a watched server: `watchedProcess.ts DIRECTORY LIMITS PEAKS`. It sends its port by IPC, then a report
 * for each message. It accepts every user whose name does not begin with `nobody`.
 */
import { getActiveResourcesInfo } from 'node:process'
import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { OspError, serve } from '../../lib/index.ts'
import { disk, tcp } from '../../lib/node.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import type { Report } from './watchedServer.ts'

const [directory = '', limits = '{}', peaks] = process.argv.slice(2)
const log: LogEntry[] = []
let peakBytes = 0

function usedBytes(): number {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Measures repeatedly, for up to a fifth of the time: on a busy machine nothing else would run. */
function watchPeaks(): void {
  const began = performance.now()
  peakBytes = Math.max(peakBytes, usedBytes())
  setTimeout(watchPeaks, Math.max(100, 4 * (performance.now() - began))).unref()
}
if (peaks === 'true') watchPeaks()

const { authenticate, knows } = loopbackOnly()

const server = await serve({
  listen: tcp({ port: 0 }),
  storage: disk(directory),
  limits: JSON.parse(limits),
  authenticator: {
    knows,
    async authenticate(credentials) {
      if (credentials.user.startsWith('nobody')) throw new OspError('unauthorized')
      return authenticate(credentials)
    },
  },
  log: (entry) => log.push(entry),
})

process.on('message', () => {
  const used = usedBytes()
  const resources = getActiveResourcesInfo()
  const report: Report = {
    status: server.status(),
    log: log.splice(0),
    peakBytes: Math.max(peakBytes, used),
    usedBytes: used,
    connections: resources.filter((name) => name === 'TCPSocketWrap').length,
    timers: resources.filter((name) => name === 'Timeout').length,
  }
  peakBytes = 0
  process.send?.(report)
})
process.on('disconnect', () => process.exit())
process.send?.(server.addresses[0]?.port)
