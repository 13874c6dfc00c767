#!/usr/bin/env node
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { launch } from './common/launch.ts'
import type * as programFile from './ospProgram.ts'

/** The latest major version of Node that is known to support these flags. A later one could print an error. */
const latestKnown = 24

const major = Number.parseInt(process.versions.node, 10)

if (major <= latestKnown) {
  // By default, V8 lets the heap grow to four times the memory in use before it collects garbage. This limits it to two times.
  setFlagsFromString('--heap-growing-percent=100')
  // Short-lived objects of many small files are collected less often.
  setFlagsFromString('--semi-space-growth-factor=8')
  // A command is too short to benefit from code that takes long to compile.
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=200')
  // Collections of a small heap are short. Other threads for them would take processor time from a server on the same machine.
  setFlagsFromString('--no-parallel-scavenge')
  setFlagsFromString('--no-incremental-marking')
}
// Later versions of Node compile fewer functions of a short command by themselves, and have no such flag.
if (major < 22) setFlagsFromString('--interrupt-budget=400000')

void launch<typeof programFile>('osp', join(import.meta.dirname, 'parts/osp.js'), ({ main, osp }) => main(osp))
