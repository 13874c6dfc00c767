import { readFileSync } from 'node:fs'
import { OspError, type Upload, type Uploads } from 'ospd'
import type { Say } from '../common/output.ts'
import { isUnfinished } from '../tasks/steering.ts'

const ctrlC = '\u0003'
const ctrlZ = '\u001A'

/**
 * Takes keys from a terminal on stdin: p pauses all uploads, or lets them go on; c cancels them, which it asks first; q leaves
 * them for later. `undefined` where stdin is no terminal, or where this process is in the background, which reading from the
 * terminal would stop.
 */
export function takeKeys(uploads: Uploads, say: Say): Disposable | undefined {
  const { stdin } = process
  if (!stdin.isTTY || !isForeground()) return undefined
  const keys = new Keys(uploads, say, () => suspend())
  const read = (text: string) => {
    for (const key of text) keys.press(key)
  }
  const goOn = () => stdin.setRawMode(true)
  const restore = () => stdin.setRawMode(false)
  const suspend = () => {
    restore()
    process.kill(process.pid, 'SIGTSTP')
  }
  stdin.setEncoding('utf8').setRawMode(true).on('data', read)
  // Whatever ends the process, the terminal is as it was.
  process.on('SIGCONT', goOn).once('exit', restore)
  return {
    [Symbol.dispose]() {
      process.off('SIGCONT', goOn).off('exit', restore)
      stdin.off('data', read).setRawMode(false).pause()
    },
  }
}

class Keys {
  readonly #uploads: Uploads
  readonly #say: Say
  readonly #suspend: () => void
  #isAsking = false

  constructor(uploads: Uploads, say: Say, suspend: () => void) {
    this.#uploads = uploads
    this.#say = say
    this.#suspend = suspend
  }

  press(key: string): void {
    if (key === ctrlC) process.kill(process.pid, 'SIGINT')
    else if (key === ctrlZ) this.#suspend()
    else if (this.#isAsking) this.#answer(key)
    else if (key === 'p' || key === 'P') this.#act(this.#togglePause())
    else if (key === 'c' || key === 'C') this.#ask()
    else if (key === 'q' || key === 'Q') process.kill(process.pid, 'SIGINT')
  }

  get #unfinished(): Upload[] {
    return [...this.#uploads].filter(({ phase: state }) => isUnfinished({ state }))
  }

  async #togglePause(): Promise<void> {
    const going = this.#unfinished.filter(({ phase }) => phase !== 'paused' && phase !== 'cancelling')
    if (going.length === 0) return await this.#uploads.resume()
    this.#say('paused; p lets it go on', 'yellow')
    await this.#uploads.pause(going.map(({ id }) => id))
  }

  #ask(): void {
    const count = this.#unfinished.length
    if (count === 0) return
    this.#isAsking = true
    const [files, them] = count === 1 ? ['the file that is', 'it'] : [`the ${count} files that are`, 'them']
    this.#say(`cancel ${files} not stored yet, and remove what the server has of ${them}? y or n`, 'yellow')
  }

  #answer(key: string): void {
    this.#isAsking = false
    if (key === 'y' || key === 'Y') this.#act(this.#uploads.cancel(this.#unfinished.map(({ id }) => id)))
    else this.#say('nothing is cancelled', 'yellow')
  }

  #act(acting: Promise<void>): void {
    acting.catch((error: unknown) => {
      const { code, message } = OspError.from(error)
      if (code !== 'closed') this.#say(message, 'red')
    })
  }
}

/** Whether the terminal is this process's: its group is the one that the terminal belongs to. Only Linux tells. */
function isForeground(): boolean {
  try {
    // Behind the name in brackets: state, parent, group, session, terminal, and the group that the terminal belongs to.
    const text = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , owner] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return group === owner
  } catch {
    return true
  }
}
