import { clusterCommand } from './cluster/cluster.ts'
import type { Program } from './common/program.ts'
import { serveCommand } from './serve/serve.ts'
import { statusCommand } from './status/status.ts'
import { uploadsCommand } from './uploads/uploads.ts'
import { userCommand } from './user/user.ts'

export { main } from './common/program.ts'

/** The program `ospd`. */
export const ospd: Program = {
  name: 'ospd',
  describe: 'Receives and stores files and messages.',
  prefix: 'OSPD',
  commands: [serveCommand, statusCommand, uploadsCommand, userCommand, clusterCommand],
  sibling: {
    name: 'osp',
    commands:
      'send,get,ls,rm,mv,tasks,add,pause,continue,cancel,msg,outbox,listen,inbox,devices,who,login,logout,context'.split(
        ',',
      ),
  },
}
