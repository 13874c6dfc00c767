#!/usr/bin/env node
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { launch } from './common/launch.ts'
import type * as programFile from './ospProgram.ts'

/** The latest major version of Node that is known to have the flag. Another one could print an error. */
const latestKnown = 24

// By default V8 lets the heap grow to four times the memory in use before it collects garbage. This is two times.
if (Number.parseInt(process.versions.node, 10) <= latestKnown) setFlagsFromString('--heap-growing-percent=100')

void launch<typeof programFile>('osp', join(import.meta.dirname, 'parts/osp.js'), ({ main, osp }) => main(osp))
