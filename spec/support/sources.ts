import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { buildSync } from 'esbuild'
import { runVariable } from './postgresServer.ts'
import { pathOf, type Running, type StartOptions, startNode } from './processes.ts'

const run = process.env[runVariable] ?? process.pid

/**
 * Starts a program whose source is at `path`, relative to the top of the repository. It is bundled into one file first,
 * which starts in a third of the time.
 */
export function startSource(path: string, args: readonly string[], options: StartOptions = {}): Running {
  return startNode(programOf(path), args, options)
}

/**
 * Returns the path of the program made from this source, relative to the top of the repository. The spec files of a run
 * share it. It is in the directory of the run, which the runner removes.
 */
export function programOf(path: string): string {
  const program = `.specs/${run}/${path.replace(/\.ts$/u, '')}.program.js`
  if (!existsSync(pathOf(program))) make(path, program)
  return program
}

function make(path: string, program: string): void {
  const { outputFiles } = buildSync({
    entryPoints: [pathOf(path)],
    // Packages with native code, those that read files of their own, and the optional one.
    external: ['classic-level', 'pg', 'xxhash-addon', 'yargs'],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
  })
  const own = pathOf(`${program}.${process.pid}`)
  mkdirSync(dirname(own), { recursive: true })
  for (const { contents } of outputFiles) writeFileSync(own, contents)
  // Another spec file may be starting the same program.
  renameSync(own, pathOf(program))
}
