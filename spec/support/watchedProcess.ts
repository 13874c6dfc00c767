/** The process of a watched server: `watchedProcess.ts DIRECTORY LIMITS PEAKS`; tells its port by IPC, then a report for each message. */
import { getActiveResourcesInfo } from 'node:process'
import { serve } from '../../lib/index.ts'
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

if (peaks === 'true') {
  setInterval(() => {
    peakBytes = Math.max(peakBytes, usedBytes())
  }, 100).unref()
}

const server = await serve({
  listen: tcp({ port: 0 }),
  storage: disk(directory),
  limits: JSON.parse(limits),
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
