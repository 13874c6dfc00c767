/**
 * A program of alice that sends files through a list of tasks, and controls them: `taskProgram.ts PORT STATE FOLDER
 * WRITE WHEN`. It kills itself before or after the WRITEth write of the list, and prints a line for each confirmed
 * step.
 */
import { join } from 'node:path'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { file } from '../../lib/adapters/node/fileSource.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { stateDirectory } from '../../lib/adapters/stateDirectory/stateDirectory.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import type { TaskStore } from '../../lib/ports/clientState.ts'
import { until } from './until.ts'

const [port, directory = '', folder = '', write, when] = process.argv.slice(2)
const state = stateDirectory(directory)
let writes = 0

async function killing(work: () => Promise<void>): Promise<void> {
  const isIt = ++writes === Number(write)
  if (isIt && when === 'before') process.kill(process.pid, 'SIGKILL')
  await work()
  if (isIt) process.kill(process.pid, 'SIGKILL')
}

const tasks: TaskStore = {
  load: () => state.tasks.load(),
  put: (task) => killing(() => state.tasks.put(task)),
  remove: (id) => killing(() => state.tasks.remove(id)),
}

const done = (step: string) => process.stdout.write(`${step}\n`)

const to = tcp({ port: Number(port) })
const options = { to, user: 'alice', platform: nodePlatform(), software: 'spec', state: { ...state, tasks } }
const client = new RunningClient({ ...options, limitRate: 2_000_000 })
const { uploads } = client
const [kept, gone, missing] = [
  await client.upload(file(join(folder, 'kept'))),
  await client.upload(file(join(folder, 'gone'))),
  await client.upload(file(join(folder, 'missing'))),
]
done('added')
await missing.done.catch(() => {})
for (const upload of [kept, gone]) await until(upload, 'progress', () => upload.progress.acknowledged > 0)
await uploads.pause([kept.id, gone.id])
done('paused')
await uploads.cancel([gone.id])
done('cancelled')
await uploads.resume([kept.id])
done('resumed')
await kept.done
await client.close()
done('ended')
