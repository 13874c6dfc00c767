import { OspError, type Upload, type Uploads } from 'ospd'
import type { StatusPrinter } from '../common/output.ts'
import { controlKeys, readKeys, signalAll } from '../common/terminal.ts'
import { isPending } from '../tasks/tasks.ts'

/** Handles keys if stdin is a terminal: p pauses or resumes uploads, c cancels them after a confirmation, q quits. */
export function takeKeys(uploads: Uploads, say: StatusPrinter): Disposable | undefined {
  const { stdin } = process
  if (!stdin.isTTY) return undefined
  let isAsking = false
  const press = (key: string) => {
    if (key === controlKeys.ctrlC) signalAll('SIGINT')
    else if (key === controlKeys.ctrlZ) signalAll('SIGTSTP')
    else if (isAsking) {
      isAsking = false
      if (key === 'y') void reporting(uploads.cancel(unfinishedOf(uploads).map(({ id }) => id)), say)
      else say('nothing is cancelled', 'yellow')
    } else if (key === 'p') void reporting(togglePause(uploads, say), say)
    else if (key === 'c') isAsking = askToCancel(uploads, say)
    else if (key === 'q') process.kill(process.pid, 'SIGINT')
  }
  return readKeys(stdin, (text) => {
    for (const key of text) press(key.toLowerCase())
  })
}

const unfinishedOf = (uploads: Uploads): Upload[] => [...uploads].filter(({ phase: state }) => isPending({ state }))

async function togglePause(uploads: Uploads, say: StatusPrinter): Promise<void> {
  const going = unfinishedOf(uploads).filter(({ phase }) => phase !== 'paused' && phase !== 'cancelling')
  if (going.length === 0) return await uploads.resume()
  say('paused; press p to continue', 'yellow')
  await uploads.pause(going.map(({ id }) => id))
}

/** Asks for a confirmation. Returns false if there is nothing to cancel. */
function askToCancel(uploads: Uploads, say: StatusPrinter): boolean {
  const { length } = unfinishedOf(uploads)
  const files = length === 1 ? 'the unfinished file' : `the ${length} unfinished files`
  if (length > 0) say(`cancel ${files} and remove the received content from the server? y or n`, 'yellow')
  return length > 0
}

async function reporting(action: Promise<void>, say: StatusPrinter): Promise<void> {
  try {
    await action
  } catch (error) {
    const { code, message } = OspError.from(error)
    if (code !== 'closed') say(message, 'red')
  }
}
