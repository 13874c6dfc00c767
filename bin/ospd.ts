#!/usr/bin/env node
import { join } from 'node:path'
import { launch } from './common/launch.ts'
import type * as programFile from './ospdProgram.ts'

// The library sets the permissions of its own files. This is for the files of LevelDB.
process.umask(0o077)

void launch<typeof programFile>('ospd', join(import.meta.dirname, 'parts/ospd.js'), ({ main, ospd }) => main(ospd))
