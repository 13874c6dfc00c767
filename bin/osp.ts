#!/usr/bin/env node
import { join } from 'node:path'
import { launch } from './common/launch.ts'
import type * as programFile from './ospProgram.ts'

void launch<typeof programFile>('osp', join(import.meta.dirname, 'parts/osp.js'), ({ main, osp }) => main(osp))
