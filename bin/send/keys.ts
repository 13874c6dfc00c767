import { OspError, type Upload, type Uploads } from 'ospd'
import type { StatusPrinter } from '../common/output.ts'
import { readKeys, signalAll, useTerminal } from '../common/terminal.ts'
import { isUnfinished } from '../tasks/tasksContext.ts'

const ctrlC = '\u0003'
const ctrlZ = '\u001A'

/**
 * Handles keys from a terminal on stdin: p pauses or resumes all uploads; c cancels them after a confirmation; q leaves
 * them for later. Returns `undefined` if stdin is not a terminal.
 */
export function takeKeys(uploads: Uploads, say: StatusPrinter): Disposable | undefined {
  const { stdin } = process
  if (!stdin.isTTY) return undefined
  const keys = new Keys(uploads, say)
  const read = (text: string) => {
    for (const key of text) keys.press(key)
  }
  stdin.setEncoding('utf8').on('data', read).pause()
  const terminal = useTerminal({ take: () => readKeys(stdin, true), restore: () => readKeys(stdin, false) })
  return {
    [Symbol.dispose]() {
      terminal[Symbol.dispose]()
      stdin.off('data', read)
    },
  }
}

class Keys {
  readonly #uploads: Uploads
  readonly #say: StatusPrinter
  #isAsking = false

  constructor(uploads: Uploads, say: StatusPrinter) {
    this.#uploads = uploads
    this.#say = say
  }

  press(key: string): void {
    if (key === ctrlC) signalAll('SIGINT')
    else if (key === ctrlZ) signalAll('SIGTSTP')
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
    this.#say('paused; press p to continue', 'yellow')
    await this.#uploads.pause(going.map(({ id }) => id))
  }

  #ask(): void {
    const count = this.#unfinished.length
    if (count === 0) return
    this.#isAsking = true
    const files = count === 1 ? 'the unfinished file' : `the ${count} unfinished files`
    this.#say(`cancel ${files} and remove the received content from the server? y or n`, 'yellow')
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
