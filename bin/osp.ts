#!/usr/bin/env node
import { launch } from './common/launch.ts'

await launch('osp', async () => (await import('./ospProgram.ts')).osp)
