import { writeSync } from 'node:fs'
import { descriptorLimit, isOutOfDescriptors, leastDescriptors } from './descriptors.ts'
import type { Program } from './program.ts'

/**
 * Runs a program. Its modules are read only if there are file descriptors for that: Node reads many of them at once, and
 * ends with a stack trace where it cannot.
 */
export async function launch(name: string, load: () => Promise<{ readonly program: Program }>): Promise<void> {
  const limit = descriptorLimit()
  if (limit !== undefined && limit < leastDescriptors) {
    return fail(name, `this process may have ${limit} files open and needs ${leastDescriptors} or more`)
  }
  try {
    const { main } = await import('./program.ts')
    const { program } = await load()
    await main(program)
  } catch (error) {
    if (!isOutOfDescriptors(error)) throw error
    fail(name, 'no file descriptor is left to this process')
  }
}

function fail(name: string, what: string): void {
  process.exitCode = 1
  try {
    writeSync(2, `${name}: ${what}; raise the limit (ulimit -n 1024)\n`)
  } catch {
    // The exit code says it.
  }
}
