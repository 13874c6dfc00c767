import { writeSync } from 'node:fs'
import { descriptorLimit, isOutOfDescriptors, leastDescriptors } from './descriptors.ts'
import type { Program } from './program.ts'

/** Runs a program. With too few file descriptors for loading its modules, Node would end with a stack trace. */
export async function launch(name: string, load: () => Promise<Program>): Promise<void> {
  const limit = descriptorLimit()
  if (limit !== undefined && limit < leastDescriptors) {
    return fail(name, `this process can open ${limit} files and needs at least ${leastDescriptors}`)
  }
  try {
    const { main } = await import('./program.ts')
    await main(await load())
  } catch (error) {
    if (!isOutOfDescriptors(error)) throw error
    fail(name, 'this process has no file descriptors left')
  }
}

function fail(name: string, what: string): void {
  process.exitCode = 1
  try {
    writeSync(2, `${name}: ${what}; raise the limit (ulimit -n 1024)\n`)
  } catch {
    // The exit code reports the failure.
  }
}
