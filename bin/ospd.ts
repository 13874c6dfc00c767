#!/usr/bin/env node
import { main } from './common/program.ts'
import { serveCommand } from './serve/serve.ts'
import { statusCommand } from './status/status.ts'
import { userCommand } from './user/user.ts'

// For what is not made by the library itself: the files of LevelDB.
process.umask(0o077)

await main({
  name: 'ospd',
  describe: 'The daemon that takes in files and messages.',
  prefix: 'OSPD',
  commands: [serveCommand, statusCommand, userCommand],
})
