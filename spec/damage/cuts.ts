import { readFileSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pathOf } from '../support/processes.ts'
import { SeededRandom } from '../support/random.ts'
import { startSource } from '../support/sources.ts'
import { type Fact, factOf, holdingsOf } from './acknowledged.ts'
import { CrashDisk, diskCalls, type Remains, remains } from './crashDisk.ts'
import { differences } from './holdings.ts'
import { quickPlace } from './place.ts'
import { startHere } from './started.ts'
import type { Row } from './table.ts'
import { type Step, stepsOf, traceOptions } from './trace.ts'

export const cutColumns: readonly string[] = ['held', 'lost', 'wrong', 'does not start', 'hung']
export const isBadCut = (column: string): boolean => column !== 'held'

export interface CutOptions {
  readonly seed: number
  /** Number of power failures for each kind of remains. */
  readonly runs: number
  print(line: string): void
}

const mostMs = 60_000

/**
 * Records the system calls of a daemon from its first start in an empty directory, and simulates power failures at many
 * of them: a directory gets the flushed data and some of the unflushed data. A server started there must return
 * everything that was acknowledged.
 */
export async function cuts({ seed, runs, print }: CutOptions): Promise<Row[]> {
  await using place = await quickPlace()
  const top = join(place.path, 'recorded')
  const steps = await recorded(place.path, top)
  const disk = new CrashDisk(top)
  const facts: Fact[] = []
  const moments = momentsOf(steps, top)
  const random = new SeededRandom(seed)
  const counts = new Map(Object.keys(remains).map((kind) => [kind, new Map<string, number>()]))
  const wanted = new Map(Object.keys(remains).map((kind) => [kind, chosen(moments, runs, random.fork(kind))]))
  let moment = 0
  for (const step of steps) {
    if (step.at === 'entry')
      for (const path of step.strings) facts.push(...[factOf(path.toString())].filter((fact) => fact !== undefined))
    if (!disk.take(step)) continue
    moment++
    for (const [kind, chosenMoments] of wanted) {
      for (let again = chosenMoments.get(moment) ?? 0; again > 0; again--) {
        const directory = join(place.path, `cut-${moment}-${again}`)
        const text = `${kind}, after call ${moment} of ${moments} (${step.call})`
        const verdict = await verdictOf(
          disk,
          facts,
          directory,
          kind as Remains,
          random.fork(`${kind} ${moment} ${again}`),
          (what) => print(`${text}: ${what}`),
        )
        const row = counts.get(kind)
        row?.set(verdict, (row.get(verdict) ?? 0) + 1)
      }
    }
  }
  return [...counts].map(([name, row]) => ({ name, counts: row }))
}

/** Records the steps of a busy daemon and of its clients. */
async function recorded(directory: string, top: string): Promise<readonly Step[]> {
  await mkdir(top)
  const output = join(directory, 'trace')
  const calls = [...diskCalls, 'access', 'faccessat', 'faccessat2']
  // A flush takes time, so an acknowledgement that does not wait for it is recorded before it.
  const under = ['strace', ...traceOptions(calls), '-e', 'inject=fsync,fdatasync:delay_enter=2000', '-o', output]
  const running = startSource('spec/damage/busy.ts', [top, pathOf('dist/bin/ospd.js')], { under })
  const { code } = await running.ended
  if (code !== 0) throw new Error(`the recorded program failed: ${running.stderr}`)
  return [...stepsOf(readFileSync(output, 'latin1'))]
}

/** Returns the number of steps that change the disk. */
function momentsOf(steps: readonly Step[], top: string): number {
  const disk = new CrashDisk(top)
  return steps.filter((step) => disk.take(step)).length
}

/** Returns the number of power failures at each moment. */
function chosen(moments: number, runs: number, random: SeededRandom): Map<number, number> {
  const times = new Map<number, number>()
  for (let run = 0; run < runs; run++) {
    // The first calls, which create the directory, are few compared with the later ones.
    const most = run % 3 === 0 ? Math.min(moments, 150) : moments
    const moment = random.integer(1, most, 'moment of a cut')
    times.set(moment, (times.get(moment) ?? 0) + 1)
  }
  return times
}

async function verdictOf(
  disk: CrashDisk,
  facts: readonly Fact[],
  directory: string,
  kind: Remains,
  random: SeededRandom,
  print: (what: string) => void,
): Promise<string> {
  disk.cut(directory, kind, random)
  const late = pause(mostMs, ['hung', `nothing came of it in ${mostMs} ms`] as const, { ref: false })
  const [verdict, text] = await Promise.race([tried(join(directory, 'data'), facts), late])
  if (verdict !== 'held') print(`${verdict}: ${text}`)
  if (verdict !== 'hung') await rm(directory, { recursive: true, force: true })
  return verdict
}

async function tried(data: string, facts: readonly Fact[]): Promise<readonly [string, string]> {
  const holdings = holdingsOf(facts)
  let server: Awaited<ReturnType<ReturnType<typeof startHere>>>
  try {
    server = await startHere(holdings.fingerprint)(data)
  } catch (error) {
    return ['does not start', (error as Error).message]
  }
  await using running = server
  const { lost, wrong } = await differences(data, holdings, running.reach)
  // A completion marker contains the inode number of the stored file, which a copy does not have.
  const gone = lost.filter((what) => !what.startsWith('the note of '))
  if (wrong.length > 0) return ['wrong', wrong.join('; ')]
  return gone.length > 0 ? ['lost', `${gone.join('; ')} (logged: ${running.problems() || 'nothing'})`] : ['held', '']
}
