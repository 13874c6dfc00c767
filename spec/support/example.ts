import type { Place } from './commands.ts'
import { type Running, startNode } from './processes.ts'

const tsx = new URL('../../node_modules/tsx/dist/loader.mjs', import.meta.url).href

/** Runs an example as its reader would, in a separate folder. */
export function example(name: string, at: Place, port: number, ...args: readonly string[]): Running {
  const env = { PORT: String(port), NODE_OPTIONS: `--import ${tsx}` }
  return startNode(`examples/${name}.ts`, args, { env, cwd: at.path })
}
