/**
 * A program of alice that sends the numbers from FIRST on to bob: `outboxProgram.ts PORT STATE FIRST WRITE WHEN`. It kills itself
 * before or after the WRITEth write of its outbox, and prints a line for each number that is queued.
 */
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { stateDirectory } from '../../lib/adapters/stateDirectory/stateDirectory.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import type { OutboxStore } from '../../lib/ports/clientState.ts'

const [port, directory = '', first, write, when] = process.argv.slice(2)
const state = stateDirectory(directory)
let writes = 0

async function killing(work: () => Promise<void>): Promise<void> {
  const isIt = ++writes === Number(write)
  if (isIt && when === 'before') process.kill(process.pid, 'SIGKILL')
  await work()
  if (isIt) process.kill(process.pid, 'SIGKILL')
}

const outbox: OutboxStore = {
  ...(state.outbox.control && { control: state.outbox.control }),
  load: () => state.outbox.load(),
  add: (message) => killing(() => state.outbox.add(message)),
  mark: (...marked) => killing(() => state.outbox.mark(...marked)),
  remove: (numbers) => killing(() => state.outbox.remove(numbers)),
}

const client = new RunningClient({
  to: tcp({ port: Number(port) }),
  user: 'alice',
  platform: nodePlatform(),
  software: 'spec',
  state: { ...state, outbox },
})

for (let number = Number(first); ; number++) {
  const sent = client.send(['bob'], String(number))
  await sent.queued
  process.stdout.write(`${number}\n`)
  await sent.stored
}
