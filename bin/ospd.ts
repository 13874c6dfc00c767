#!/usr/bin/env node
import { main } from './common/program.ts'
import { serveCommand } from './serve/serve.ts'

await main({
  name: 'ospd',
  describe: 'The daemon that takes in files and messages.',
  prefix: 'OSPD',
  commands: [serveCommand],
})
