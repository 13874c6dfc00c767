#!/usr/bin/env node
import { main } from './common/program.ts'
import { sendCommand } from './send/send.ts'

await main({
  name: 'osp',
  describe: 'Sends files to an ospd, reliably.',
  prefix: 'OSP',
  commands: [sendCommand],
})
