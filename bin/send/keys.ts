import { OspError, type Upload, type Uploads } from 'ospd'
import type { StatusPrinter } from '../common/output.ts'
import { controlKeys, readKeys, signalAll } from '../common/terminal.ts'
import { isPending } from '../tasks/tasks.ts'

/**
 * Handles keys from a terminal on stdin: p pauses or resumes all uploads; c cancels them after a confirmation; q leaves
 * them for later. Returns `undefined` if stdin is not a terminal.
 */
export function takeKeys(uploads: Uploads, say: StatusPrinter): Disposable | undefined {
  const { stdin } = process
  if (!stdin.isTTY) return undefined
  const keys = new Keys(uploads, say)
  return readKeys(stdin, (text) => {
    for (const key of text) keys.press(key.toLowerCase())
  })
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
    if (key === controlKeys.ctrlC) signalAll('SIGINT')
    else if (key === controlKeys.ctrlZ) signalAll('SIGTSTP')
    else if (this.#isAsking) this.#answer(key)
    else if (key === 'p') this.#act(this.#togglePause())
    else if (key === 'c') this.#ask()
    else if (key === 'q') process.kill(process.pid, 'SIGINT')
  }

  get #unfinished(): Upload[] {
    return [...this.#uploads].filter(({ phase: state }) => isPending({ state }))
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
    if (key === 'y') this.#act(this.#uploads.cancel(this.#unfinished.map(({ id }) => id)))
    else this.#say('nothing is cancelled', 'yellow')
  }

  #act(acting: Promise<void>): void {
    acting.catch((error: unknown) => {
      const { code, message } = OspError.from(error)
      if (code !== 'closed') this.#say(message, 'red')
    })
  }
}
