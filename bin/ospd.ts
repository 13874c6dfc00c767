#!/usr/bin/env node
import { launch } from './common/launch.ts'

// For what is not made by the library itself: the files of LevelDB.
process.umask(0o077)

await launch('ospd', () => import('./ospdProgram.ts'))
