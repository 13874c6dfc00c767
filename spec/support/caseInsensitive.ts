import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join, sep } from 'node:path'
import { Mutex } from '../../lib/runtime/mutex.ts'

type Call = (...args: unknown[]) => Promise<unknown>

const calls = [
  'access',
  'lstat',
  'link',
  'mkdir',
  'open',
  'readdir',
  'readFile',
  'rename',
  'rm',
  'rmdir',
  'stat',
] as const
const all = [...calls, 'statfs', 'unlink'] as const

/**
 * Makes `node:fs/promises` in this process treat paths below `directory` as a case-insensitive, case-preserving file
 * system does: an entry is found under every case of its name, and none is created if one exists in another case.
 */
export function caseInsensitive(directory: string): Disposable {
  const own = Object.fromEntries(all.map((name) => [name, fs[name]])) as unknown as Record<string, Call>
  const calling = new Mutex()
  const entries = async (path: string) => (await own.readdir?.(path).catch(() => [])) as string[]
  const found = async (path: unknown) => {
    if (typeof path !== 'string' || !path.startsWith(directory + sep)) return path
    let at = directory
    for (const part of path.slice(directory.length + 1).split(sep)) {
      const names = await entries(at)
      at = join(at, names.find((name) => name.toLowerCase() === part.toLowerCase()) ?? part)
    }
    return at
  }
  const folding =
    (name: string) =>
    (first: unknown, second: unknown, ...more: unknown[]) =>
      // One call at a time: a case-insensitive file system looks up and creates an entry in one step.
      calling.run(async () => {
        const isPair = name === 'link' || name === 'rename'
        return await own[name]?.(await found(first), isPair ? await found(second) : second, ...more)
      })
  Object.assign(fs, Object.fromEntries(all.map((name) => [name, folding(name)])))
  syncBuiltinESMExports()
  return {
    [Symbol.dispose]() {
      Object.assign(fs, own)
      syncBuiltinESMExports()
    },
  }
}
