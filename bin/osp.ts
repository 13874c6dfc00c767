#!/usr/bin/env node
import { launch } from './common/launch.ts'

await launch('osp', () => import('./ospProgram.ts'))
