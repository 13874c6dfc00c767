import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { SeededRandom } from '../support/random.ts'
import { type Differences, differences, type Holdings } from './holdings.ts'
import { copyOf, fill, quickPlace } from './place.ts'
import { fingerprintOf, type Start, startDaemon, startHere } from './started.ts'
import type { Row } from './table.ts'

/** Accepted outcomes for a data directory with one changed byte. */
const good = ['held', 'lost and said', 'refused and said'] as const
/**
 * Rejected outcomes. `lost too much`: more than one item, although a byte belongs to one; `no advice`: the server does
 * not start, and does not name the file.
 */
const bad = ['lost silently', 'lost too much', 'wrong', 'no advice', 'hung'] as const

type Verdict = (typeof good)[number] | (typeof bad)[number]

export const flipColumns: readonly string[] = [...good, ...bad]
export const isBadFlip = (column: string): boolean => (bad as readonly string[]).includes(column)

export interface FlipOptions {
  readonly seed: number
  /** Number of positions in each kind of file. */
  readonly runs: number
  /** One in this many trials uses a daemon in its own process, and the others a server in this process. */
  readonly daemonEvery: number
  /** Called with each flip that has a rejected outcome. */
  print(line: string): void
}

/**
 * Changes one byte of a data directory, at many positions in each kind of file, each in a fresh copy, and starts a
 * server there.
 */
export async function flips({ seed, runs, daemonEvery, print }: FlipOptions): Promise<Row[]> {
  await using place = await quickPlace()
  const data = join(place.path, 'data')
  const holdings = await fill(data)
  const fingerprint = fingerprintOf(readFileSync(join(data, 'tls/cert.pem')))
  const usual = await controlOf(data, holdings, place.path)
  const rows: Row[] = []
  const flipOne = async (kind: string, paths: readonly string[], run: number, random: SeededRandom) => {
    const path = random.pick(paths, 'file')
    const at = random.integer(0, statSync(join(data, path)).size - 1, 'offset')
    const flip = { kind, path, at, mask: random.integer(1, 255, 'mask') }
    const isDaemon = run % daemonEvery === daemonEvery - 1
    const secured = kind.startsWith('tls/') || isDaemon ? fingerprint : undefined
    const start = isDaemon ? startDaemon(secured) : startHere(secured)
    const copy = join(place.path, `${kind.replaceAll('/', '-')}-${run}`)
    const { verdict, text } = await tried(flip, data, holdings, usual, start, copy)
    if (isBadFlip(verdict))
      print(`${path} byte ${at} xor ${flip.mask}${isDaemon ? ' (daemon)' : ''}: ${verdict}: ${text}`)
    return verdict
  }
  for (const [kind, paths] of kindsOf(data)) {
    const random = new SeededRandom(seed).fork(kind)
    const counts = new Map<string, number>()
    for (let run = 0; run < runs; run++) {
      const verdict = await flipOne(kind, paths, run, random)
      counts.set(verdict, (counts.get(verdict) ?? 0) + 1)
    }
    rows.push({ name: kind, counts })
  }
  return rows
}

/** Returns the losses of an unchanged copy. */
async function controlOf(data: string, holdings: Holdings, directory: string): Promise<ReadonlySet<string>> {
  const copy = join(directory, 'control')
  await copyOf(data, copy)
  await using server = await startHere()(copy)
  const { lost, wrong } = await differences(copy, holdings, server.reach)
  if (wrong.length > 0) throw new Error(`an undamaged copy is wrong: ${wrong.join('; ')}`)
  return new Set(lost)
}

/** Returns the non-empty files of a data directory by kind: numbers in names are ignored. */
function kindsOf(data: string): Map<string, string[]> {
  const kinds = new Map<string, string[]>()
  for (const entry of readdirSync(data, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || statSync(path).size === 0 || /^LOG/u.test(entry.name)) continue
    const kind = kindOf(relative(data, path))
    kinds.set(kind, [...(kinds.get(kind) ?? []), relative(data, path)])
  }
  return new Map([...kinds].sort(([a], [b]) => (a < b ? -1 : 1)))
}

function kindOf(path: string): string {
  if (path.startsWith('files/')) return 'files/*'
  return path.replace(/[\da-f]{32}/u, '*').replace(/\d+/gu, 'N')
}

interface Flip {
  readonly kind: string
  readonly path: string
  readonly at: number
  readonly mask: number
}

interface Tried {
  readonly verdict: Verdict
  readonly text: string
}

const mostMs = 60_000

async function tried(
  flip: Flip,
  data: string,
  holdings: Holdings,
  usual: ReadonlySet<string>,
  start: Start,
  copy: string,
): Promise<Tried> {
  await copyOf(data, copy)
  const path = join(copy, flip.path)
  const { atime, mtime } = statSync(path)
  const bytes = readFileSync(path)
  bytes[flip.at] = (bytes[flip.at] ?? 0) ^ flip.mask
  writeFileSync(path, bytes)
  utimesSync(path, atime, mtime)
  try {
    const late = pause(mostMs, { verdict: 'hung', text: `nothing came of it in ${mostMs} ms` } as const, { ref: false })
    return await Promise.race([judged(flip, copy, holdings, usual, start), late])
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}

async function judged(
  flip: Flip,
  copy: string,
  holdings: Holdings,
  usual: ReadonlySet<string>,
  start: Start,
): Promise<Tried> {
  let server: Awaited<ReturnType<Start>>
  try {
    server = await start(copy)
  } catch (error) {
    const text = (error as Error).message
    return { verdict: isAdvice(text, flip) ? 'refused and said' : 'no advice', text }
  }
  await using running = server
  const found = await differences(copy, holdings, running.reach)
  return verdictOf(flip, found, holdings, usual, running.problems())
}

/** Returns whether a text names the damaged file, or its directory, and an action. */
function isAdvice(text: string, { path }: Flip): boolean {
  const names = path.includes('/') ? [path, path.slice(0, path.lastIndexOf('/'))] : [path]
  return names.some((name) => text.includes(name)) && /; .*(?:put|restore|move|remove|use|give|let|start)/u.test(text)
}

function verdictOf(
  flip: Flip,
  { lost, wrong }: Differences,
  holdings: Holdings,
  usual: ReadonlySet<string>,
  problems: string,
): Tried {
  // A published file may be changed by its owner: the server does not check it, and accepts it again when it is sent
  // again.
  const own = flip.path.replace(/^files\//u, '')
  const mayBe = new Set(flip.kind === 'files/*' ? [`the stored file ${own}`, `the note of ${own}`] : [])
  const gone = lost.filter((what) => !usual.has(what) && !mayBe.has(what))
  const text = [...gone, ...wrong].join('; ')
  if (wrong.length > 0) return { verdict: 'wrong', text }
  if (gone.length === 0) return { verdict: 'held', text }
  if (gone.length === holdings.tokens.size && gone.every((what) => what.startsWith('the user '))) {
    return { verdict: isAdvice(problems, flip) ? 'refused and said' : 'no advice', text }
  }
  const things = new Set(gone.map((what) => what.replace(/ to \w+$/u, '')))
  const names = [basename(flip.path), ...gone.map((what) => what.replace(/^.*\//u, ''))]
  if (!names.some((name) => problems.includes(name))) return { verdict: 'lost silently', text }
  return { verdict: things.size > 1 ? 'lost too much' : 'lost and said', text: `${things.size}: ${text}` }
}
