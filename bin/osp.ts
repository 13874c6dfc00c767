#!/usr/bin/env node
import { main } from './common/program.ts'
import { listenCommand } from './listen/listen.ts'
import { msgCommand } from './msg/msg.ts'
import { sendCommand } from './send/send.ts'
import { whoCommand } from './who/who.ts'

await main({
  name: 'osp',
  describe: 'Sends files and messages to an ospd, reliably.',
  prefix: 'OSP',
  commands: [sendCommand, msgCommand, listenCommand, whoCommand],
})
