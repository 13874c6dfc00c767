import { posix } from 'node:path'
import type { Source } from './source.ts'

const statement = /\b(?:import|export)\s+(type\s)?([^'";]*?)\bfrom\s*['"](\.[^'"\n]+)['"]/gu

/**
 * Returns the import cycles, each as the sorted paths of its files. A type-only import within one folder does not
 * count.
 */
export function importCycles(sources: readonly Source[]): string[][] {
  const targets = new Map(sources.map((source) => [source.path, targetsOf(source)]))
  const reachable = new Map(sources.map(({ path }) => [path, reachableFrom(path, targets)]))
  const cycles = sources.flatMap(({ path }) => {
    const circle = [...(reachable.get(path) ?? [])].filter((other) => reachable.get(other)?.has(path)).sort()
    return circle[0] === path ? [circle] : []
  })
  return cycles.filter((circle) => circle.length > 1)
}

function targetsOf({ path, code }: Source): string[] {
  const folder = posix.dirname(path)
  return [...code.matchAll(statement)].flatMap(([, type, names = '', from = '']) => {
    const target = posix.join(folder, from)
    const isTypeOnly = type !== undefined || isOfTypes(names)
    return isTypeOnly && posix.dirname(target) === folder ? [] : [target]
  })
}

/** Whether each name in the braces has its own `type`. */
function isOfTypes(names: string): boolean {
  const [, list] = /^\s*\{(.*)\}\s*$/su.exec(names) ?? []
  const each = list?.split(',').filter((name) => name.trim() !== '') ?? []
  return each.length > 0 && each.every((name) => name.trim().startsWith('type '))
}

function reachableFrom(path: string, targets: ReadonlyMap<string, readonly string[]>): Set<string> {
  const found = new Set<string>()
  const open = [path]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const target of targets.get(next) ?? []) {
      if (found.has(target)) continue
      found.add(target)
      open.push(target)
    }
  }
  return found
}
