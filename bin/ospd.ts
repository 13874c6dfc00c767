#!/usr/bin/env node
import { launch } from './common/launch.ts'

// The library sets the permissions of its own files. This is for the files of LevelDB.
process.umask(0o077)

await launch('ospd', async () => (await import('./ospdProgram.ts')).ospd)
