import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import type { SeededRandom } from '../support/random.ts'
import type { Step } from './trace.ts'

/** The system calls that a `CrashDisk` needs. */
export const diskCalls = [
  ...['openat', 'write', 'pwrite64', 'writev', 'pwritev', 'ftruncate', 'fsync', 'fdatasync'],
  ...['rename', 'link', 'unlink', 'mkdir', 'rmdir'],
]

/** The remains of unflushed data. */
export const remains = {
  'nothing that was not flushed': { names: 'none', contents: 'none' },
  everything: { names: 'all', contents: 'all' },
  'names without contents': { names: 'all', contents: 'none' },
  'contents without names': { names: 'none', contents: 'all' },
  'names in order, contents in part': { names: 'first', contents: 'some' },
  'names in any order, contents in part': { names: 'some', contents: 'some' },
} as const

export type Remains = keyof typeof remains

interface Write {
  readonly offset: number
  readonly bytes: Uint8Array
  /** A change of the length, instead of a write. */
  readonly length?: number
}

/** A file or a directory. */
interface Node {
  readonly mode: number
  /** Current entries of a directory. */
  readonly entries: Map<string, Node> | undefined
  /** Writes to a file, in order; the first `flushed` of them are durable. */
  readonly writes: Write[]
  flushed: number
  /** Position of the next write without an offset. */
  position: number
  length: number
  /** Whether its writes are durable when they return. */
  synchronous: boolean
}

/** A change of names, atomic; durable once one of its directories was flushed. */
interface Change {
  readonly removes: readonly (readonly [Node, string])[]
  readonly adds: readonly (readonly [Node, string, Node])[]
  durable: boolean
}

const nodeOf = (mode: number, isDirectory: boolean): Node => ({
  mode,
  entries: isDirectory ? new Map() : undefined,
  writes: [],
  flushed: 0,
  position: 0,
  length: 0,
  synchronous: false,
})

/** Models a disk below one directory: follows the calls of programs, and determines what a power failure may leave. */
export class CrashDisk {
  readonly #top: string
  readonly #root = nodeOf(0o700, true)
  readonly #changes: Change[] = []
  /** By the id of an unfinished flush: the data that it makes durable when it succeeds. */
  readonly #flushes = new Map<number, () => void>()

  /** `top` is the directory, which is empty and durable. */
  constructor(top: string) {
    this.#top = top
  }

  /** Applies a step. Returns whether it changed the disk. */
  take(step: Step): boolean {
    const { at, call, id, descriptorPath } = step
    const [path] = [descriptorPath, step.strings[0]?.toString()].filter((one) => one !== undefined && this.#isHere(one))
    if (path === undefined) return false
    if (call === 'fsync' || call === 'fdatasync') {
      if (at === 'entry') this.#flushes.set(id, this.#flushOf(this.#at(path)))
      else this.#flushes.get(id)?.()
      return at === 'exit'
    }
    if (at === 'entry') return false
    this.#change(step, path)
    return true
  }

  /** Writes to `directory` what a power failure would leave now. */
  cut(directory: string, kind: Remains, random: SeededRandom): void {
    const { names, contents } = remains[kind]
    const trees = new Map<Node, Map<string, Node>>([[this.#root, new Map()]])
    const treeOf = (node: Node) => {
      const tree = trees.get(node) ?? new Map<string, Node>()
      trees.set(node, tree)
      return tree
    }
    const unflushed = this.#changes.filter(({ durable }) => !durable)
    const first = new Set(unflushed.slice(0, random.integer(0, unflushed.length, 'names that are left')))
    for (const change of this.#changes) {
      const isLeft = { none: false, all: true, first: first.has(change), some: random.chance(0.5, 'a name is left') }[
        names
      ]
      if (!change.durable && !isLeft) continue
      for (const [node, name] of change.removes) treeOf(node).delete(name)
      for (const [node, name, target] of change.adds) treeOf(node).set(name, target)
    }
    const make = (node: Node, path: string): void => {
      if (node.entries) {
        mkdirSync(path, { recursive: true })
        for (const [name, child] of trees.get(node) ?? []) make(child, join(path, name))
      } else writeFileSync(path, contentOf(node, contents, random))
      chmodSync(path, node.mode)
    }
    make(this.#root, directory)
  }

  #isHere(path: string): boolean {
    return path === this.#top || path.startsWith(`${this.#top}/`)
  }

  #at(path: string): Node | undefined {
    const parts = relative(this.#top, path).split('/').filter(Boolean)
    return parts.reduce<Node | undefined>((node, name) => node?.entries?.get(name), this.#root)
  }

  #flushOf(node: Node | undefined): () => void {
    if (!node) return () => {}
    if (!node.entries) {
      const { length } = node.writes
      return () => {
        node.flushed = Math.max(node.flushed, length)
      }
    }
    const covered = this.#changes.filter(({ adds, removes }) => [...adds, ...removes].some(([where]) => where === node))
    return () => {
      for (const change of covered) change.durable = true
    }
  }

  #change({ call, rest, strings, result }: Step, path: string): void {
    const node = this.#at(path)
    const last = Number(/, (\d+)$/u.exec(rest)?.[1] ?? 0)
    const to = () => this.#placeOf(strings[1]?.toString() ?? '')
    if (call === 'openat') this.#opened(path, rest)
    else if (/write/u.test(call) && node) {
      written(node, Buffer.concat(strings).subarray(0, result), call.startsWith('p') ? last : undefined)
    } else if (call === 'ftruncate' && node) truncated(node, last)
    else if (call === 'mkdir') this.#named({ adds: [[...this.#placeOf(path), nodeOf(0o700, true)]] })
    else if (call === 'unlink' || call === 'rmdir') this.#named({ removes: [this.#placeOf(path)] })
    else if (call === 'link' && node) this.#named({ adds: [[...to(), node]] })
    else if (call === 'rename' && node) this.#named({ removes: [this.#placeOf(path)], adds: [[...to(), node]] })
  }

  #opened(path: string, rest: string): void {
    if (/O_DIRECTORY|O_PATH/u.test(rest) || !/O_WRONLY|O_RDWR/u.test(rest)) return
    const [, mode = '600'] = /, 0(\d{3})$/u.exec(rest) ?? []
    if (!this.#at(path)) {
      const made = nodeOf(Number.parseInt(mode, 8) & ~0o022, false)
      this.#named({ adds: [[...this.#placeOf(path), made]] })
    }
    const node = this.#at(path)
    if (!node) return
    if (rest.includes('O_TRUNC') && node.length > 0) truncated(node, 0)
    node.position = rest.includes('O_APPEND') ? node.length : 0
    node.synchronous ||= /O_D?SYNC/u.test(rest)
  }

  #placeOf(path: string): readonly [Node, string] {
    const directory = this.#at(dirname(path))
    if (!directory?.entries) throw new Error(`${dirname(path)} was not created by a traced call`)
    return [directory, basename(path)]
  }

  #named({ removes = [], adds = [] }: Partial<Change>): void {
    for (const [node, name] of removes) node.entries?.delete(name)
    for (const [node, name, target] of adds) node.entries?.set(name, target)
    this.#changes.push({ removes, adds, durable: false })
  }
}

function written(node: Node, bytes: Uint8Array, offset: number | undefined): void {
  const at = offset ?? node.position
  node.writes.push({ offset: at, bytes })
  node.length = Math.max(node.length, at + bytes.length)
  if (offset === undefined) node.position = at + bytes.length
  if (node.synchronous) node.flushed = node.writes.length
}

function truncated(node: Node, length: number): void {
  node.writes.push({ offset: 0, bytes: new Uint8Array(), length })
  node.length = length
}

const blockBytes = 512

/**
 * Returns the remaining content of a file: all flushed bytes, and of each block written since then the new or the old
 * version.
 */
function contentOf(node: Node, contents: 'none' | 'all' | 'some', random: SeededRandom): Uint8Array {
  let content = Buffer.alloc(0)
  const grow = (length: number) => {
    if (length > content.length) content = Buffer.concat([content, Buffer.alloc(length - content.length)])
  }
  const put = (offset: number, bytes: Uint8Array, isSure: boolean) => {
    for (let from = 0; from < bytes.length; from += blockBytes) {
      const block = bytes.subarray(from, from + blockBytes)
      if (isSure || random.chance(0.5, 'a block is left')) {
        grow(offset + from + block.length)
        content.set(block, offset + from)
      } else if (random.chance(0.3, 'the length is left')) grow(offset + from + 1)
    }
  }
  for (const [at, { offset, bytes, length }] of node.writes.entries()) {
    const isSure = at < node.flushed || contents === 'all'
    if (!isSure && contents === 'none') break
    if (length === undefined) put(offset, bytes, isSure)
    else if (isSure || random.chance(0.5, 'a truncation is left')) {
      grow(length)
      content = content.subarray(0, length)
    }
  }
  return content
}
