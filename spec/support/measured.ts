/** Loaded into a program by `--import`, with `--expose-gc`: reports the program's use of memory and CPU by IPC. */

/** The use of a program so far, after garbage collection. */
export interface Use {
  /** Bytes of objects and buffers, and resident bytes of the process. */
  readonly usedBytes: number
  readonly residentBytes: number
  readonly cpuSeconds: number
}

process.on('message', (command) => {
  const { user, system } = process.cpuUsage()
  const cpuSeconds = (user + system) / 1e6
  if (command !== 'cpu') globalThis.gc?.()
  const { heapUsed, external, rss } = process.memoryUsage()
  process.send?.({ usedBytes: heapUsed + external, residentBytes: rss, cpuSeconds } satisfies Use)
})
// A program that has finished its work ends.
process.channel?.unref()
