import { contextDefaults } from './common/context.ts'
import type { Program } from './common/program.ts'
import { contextCommand } from './context/context.ts'
import { devicesCommand } from './devices/devices.ts'
import { lsCommand } from './files/ls.ts'
import { mvCommand } from './files/mv.ts'
import { rmCommand } from './files/rm.ts'
import { getCommand } from './get/get.ts'
import { inboxCommand } from './inbox/inbox.ts'
import { listenCommand } from './listen/listen.ts'
import { loginCommand, logoutCommand } from './login/login.ts'
import { msgCommand } from './msg/msg.ts'
import { outboxCommand } from './outbox/outbox.ts'
import { sendCommand } from './send/send.ts'
import { addCommand } from './tasks/add.ts'
import { cancelCommand, continueCommand, pauseCommand, tasksCommand } from './tasks/tasks.ts'
import { whoCommand } from './who/who.ts'

export { main } from './common/program.ts'

/** The program `osp`. */
export const osp: Program = {
  name: 'osp',
  describe: 'Reliably exchanges files and messages with an ospd server.',
  prefix: 'OSP',
  commands: [
    sendCommand,
    getCommand,
    lsCommand,
    rmCommand,
    mvCommand,
    tasksCommand,
    addCommand,
    pauseCommand,
    continueCommand,
    cancelCommand,
    msgCommand,
    outboxCommand,
    listenCommand,
    inboxCommand,
    devicesCommand,
    whoCommand,
    loginCommand,
    logoutCommand,
    contextCommand,
  ],
  defaults: contextDefaults,
  sibling: { name: 'ospd', commands: ['serve', 'status', 'uploads', 'user', 'cluster'] },
}
