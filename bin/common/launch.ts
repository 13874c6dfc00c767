import { readFileSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { Script } from 'node:vm'
import { CodeCache } from './codeCache.ts'
import { descriptorLimit, isOutOfDescriptors, leastDescriptors } from './descriptors.ts'

/**
 * Runs the program in the file at `path`, into which the build has bundled its modules. Checks the limit of file descriptors
 * first: with too few, Node would end with a stack trace.
 */
export async function launch<T>(name: string, path: string, run: (program: T) => Promise<void>): Promise<void> {
  const limit = descriptorLimit()
  if (limit !== undefined && limit < leastDescriptors) {
    return fail(name, `this process can open ${limit} files and needs at least ${leastDescriptors}`)
  }
  try {
    await run(load<T>(path))
  } catch (error) {
    if (!isOutOfDescriptors(error)) throw error
    fail(name, 'this process has no file descriptors left')
  }
}

/** Loads a module as `require` does, but with the compiled code of an earlier run of the same command. */
function load<T>(path: string): T {
  // The source is a function whose parameters are the variables of a CommonJS module, in ASCII (.ci/build.js).
  const source = readFileSync(path)
  const cache = isCached() ? new CodeCache(source, commandWord()) : undefined
  const cachedData = cache?.read()
  const script = new Script(source.toString('latin1'), { filename: path, ...(cachedData && { cachedData }) })
  if (cache && script.cachedDataRejected !== false) {
    // Stored at exit, since the code then contains the functions that the command has called.
    process.once('exit', (code) => {
      if (code === 0) cache.write(script.createCachedData())
    })
  }
  const module = { exports: {} as T }
  script.runInThisContext()(module, module.exports, createRequire(path), path, dirname(path))
  return module.exports
}

/** Follows the rules of Node's own compile cache: a variable turns it off, and cached code has no counters for coverage. */
const isCached = () => !process.env.NODE_DISABLE_COMPILE_CACHE && !process.env.NODE_V8_COVERAGE

/** Returns the first argument if it looks like a command, otherwise `other`. */
function commandWord(): string {
  return /^[a-z]{1,16}$/u.exec(process.argv[2] ?? '')?.[0] ?? 'other'
}

function fail(name: string, what: string): void {
  process.exitCode = 1
  try {
    writeSync(2, `${name}: ${what}; raise the limit (ulimit -n 1024)\n`)
  } catch {
    // The exit code reports the failure.
  }
}
