/**
 * `npm run bench:small [-- DIRECTORY]`: files per second for 10,000 files of 1 KiB, from one folder on the disk of
 * DIRECTORY to another, by `osp send -r` and a daemon on this machine, compared with `rsync -a --fsync` in the same
 * round if it is installed.
 */
import { spawnSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KiB } from '../../lib/limits.ts'
import { type Running, startNode } from '../support/processes.ts'

const [directory = tmpdir()] = process.argv.slice(2)
const count = Number(process.env.FILES ?? 10_000)
const rounds = Number(process.env.ROUNDS ?? 3)

const base = mkdtempSync(join(directory, 'ospd-small-'))
const sources = join(base, 'sources')
const data = join(base, 'data')
const copies = join(base, 'copies')

function makeSources(): void {
  mkdirSync(sources)
  for (let at = 0; at < count; at++) writeFileSync(join(sources, `${at}.bin`), randomFillSync(new Uint8Array(KiB)))
}

/** Milliseconds, or `undefined` if there is no rsync with `--fsync`. */
function byRsync(): number | undefined {
  rmSync(copies, { recursive: true, force: true })
  const began = performance.now()
  const { status } = spawnSync('rsync', ['-a', '--fsync', `${sources}/`, `${copies}/`])
  const ms = performance.now() - began
  return status === 0 ? ms : undefined
}

async function byOspd(): Promise<number> {
  rmSync(data, { recursive: true, force: true })
  const server: Running = startNode('dist/bin/ospd.js', ['serve', '--port', '0', '--data', data, '--quiet'])
  try {
    const [, port] = await server.printed(/ready on [^:]+:(\d+)/u)
    const to = ['--server', `127.0.0.1:${port}`, '--user', 'bench']
    const began = performance.now()
    const sending = startNode('dist/bin/osp.js', ['send', '-r', ...to, sources])
    const { code } = await sending.ended
    const ms = performance.now() - began
    const stored = readdirSync(join(data, 'files', 'bench', 'sources')).length
    if (code !== 0 || stored !== count) throw new Error(`${stored} of ${count} files were stored:\n${sending.stderr}`)
    return ms
  } finally {
    await server.kill('SIGTERM')
  }
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
const perSecond = (ms: readonly number[]) => Math.round(count / (median(ms) / 1_000)).toLocaleString('en')

try {
  makeSources()
  const ospd: number[] = []
  const rsync: number[] = []
  const ratios: number[] = []
  for (let round = 0; round < rounds; round++) {
    const theirs = byRsync()
    const ours = await byOspd()
    ospd.push(ours)
    if (theirs === undefined) continue
    rsync.push(theirs)
    ratios.push(theirs / ours)
  }
  const beside =
    rsync.length > 0
      ? `rsync -a --fsync: ${perSecond(rsync)} files/s, ratio ${median(ratios).toFixed(2)}`
      : 'rsync with --fsync is not installed: nothing to compare with'
  const title = `${count.toLocaleString('en')} files of 1 KiB, ${rounds} rounds, medians`
  console.log(`${title}: osp send -r ${perSecond(ospd)} files/s; ${beside}`)
} finally {
  rmSync(base, { recursive: true, force: true })
}
