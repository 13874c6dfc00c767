import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

/** The figures of one run. `value` is in the unit of the contest; the CPU seconds are those of the run alone. */
export interface Result {
  readonly value: number
  readonly clientCpuS?: number
  readonly serverCpuS?: number
}

/** One of the programs that do the same work. */
export interface Contender {
  readonly name: string
  run(): Promise<Result>
}

export interface Summary {
  readonly name: string
  readonly rounds: number
  readonly median: number
  readonly min: number
  readonly max: number
  readonly clientCpuS: number | undefined
  readonly serverCpuS: number | undefined
}

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

/** Returns the value at a fraction of sorted values. */
export const quantile = (values: readonly number[], fraction: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * fraction)] ?? 0

/**
 * Runs all contenders once in each round, in turns, so that a slow minute of the machine meets each of them. A contender that
 * fails is reported and left out.
 */
export async function contest(contenders: readonly Contender[], rounds: number): Promise<Summary[]> {
  const results = new Map<Contender, Result[]>(contenders.map((contender) => [contender, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [contender, own] of results) {
      await quiet()
      try {
        own.push(await contender.run())
      } catch (error) {
        console.error(`${contender.name} failed: ${error instanceof Error ? error.message : error}`)
        results.delete(contender)
      }
    }
  }
  return [...results].map(([{ name }, own]) => {
    const values = own.map(({ value }) => value)
    const middle = (field: 'clientCpuS' | 'serverCpuS') => {
      const all = own.flatMap((result) => result[field] ?? [])
      return all.length > 0 ? median(all) : undefined
    }
    return {
      name,
      rounds: own.length,
      median: median(values),
      min: Math.min(...values),
      max: Math.max(...values),
      clientCpuS: middle('clientCpuS'),
      serverCpuS: middle('serverCpuS'),
    }
  })
}

const ticksPerSecond = 100

/** The CPU seconds of a process with its children, live and ended. Linux only. */
export function cpuSeconds(pid: number): number {
  const processes = new Map<number, { parent: number; ticks: number }>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/u.test(entry)) continue
    const fields = statOf(Number(entry))
    if (fields) processes.set(Number(entry), { parent: fields[1] ?? 0, ticks: sum(fields.slice(11, 15)) })
  }
  const ticksOf = (id: number): number =>
    (processes.get(id)?.ticks ?? 0) +
    sum([...processes].filter(([, { parent }]) => parent === id).map(([child]) => ticksOf(child)))
  return ticksOf(pid) / ticksPerSecond
}

/** The CPU seconds of the ended children of this process. */
export const cpuOfChildren = (): number => sum((statOf(process.pid) ?? []).slice(13, 15)) / ticksPerSecond

/** Returns the fields of `/proc/PID/stat` from the state on. */
function statOf(pid: number): number[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
  } catch {
    return undefined
  }
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

/** Waits until the machine has nothing else to do, for 2 s at most. */
async function quiet(): Promise<void> {
  const busy = () => {
    const [, user = 0, nice = 0, system = 0, , , irq = 0, soft = 0] = readFileSync('/proc/stat', 'latin1')
      .split('\n', 1)
      .join()
      .split(/\s+/u)
      .map(Number)
    return user + nice + system + irq + soft
  }
  for (let tries = 0; tries < 20; tries++) {
    const before = busy()
    await pause(100)
    if (busy() - before <= 3) return
  }
}
