import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Message } from 'ospd'
import { pathReason } from 'ospd/node'
import { displayed, UsageError } from '../common/usage.ts'
import type { SavedFile } from './savedFiles.ts'

/** Maximum length of the result of a program. */
const resultBytes = 4 * 1024

/** Time for which output is read after a program has exited: its child processes may keep the pipe open. */
const outputMs = 1_000

/** How a program has ended. */
export interface ProgramEnd {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** The beginning of its stdout, without the newlines at its end. */
  readonly result: string
}

/**
 * Throws UsageError if the program cannot be started. The system looks for it in PATH, unless its name contains a slash. Not checked
 * on Windows, where the system also adds extensions to the name.
 */
export function checkProgram(name: string): void {
  const { PATH: folders } = process.env
  if (process.platform === 'win32' || folders === undefined) return
  const isPath = name.includes('/')
  const paths = isPath ? [name] : folders.split(':').map((folder) => join(folder, name))
  const faults = paths.map(faultOf)
  if (faults.includes(undefined)) return
  // As `execvp` does, prefers the fault of a file that exists.
  const fault = faults.find((code) => code === 'EACCES' || code === 'EISDIR') ?? (isPath && faults[0])
  if (fault) throw cannotRun(name, pathReason({ code: fault }))
  throw cannotRun(name, `it is not in PATH; if it is in this directory, specify ./${name}`)
}

/** Returns the code of the error with which the system would refuse to run the program at a path. */
function faultOf(path: string): string | undefined {
  try {
    if (statSync(path).isDirectory()) return 'EISDIR'
    accessSync(path, constants.X_OK)
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

const cannotRun = (name: string, reason: string) => new UsageError(`--exec cannot run ${displayed(name)}: ${reason}`)

/** Runs a program for each message. Kills the running ones when this process exits. */
export class MessageProgram implements Disposable {
  readonly name: string
  readonly #args: readonly string[]
  readonly #running = new Set<ChildProcess>()
  readonly #killAll = () => {
    for (const child of this.#running) kill(child)
  }

  constructor(name: string, args: readonly string[]) {
    this.name = name
    this.#args = args
    process.on('exit', this.#killAll)
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#killAll)
  }

  /** Runs the program with this input. Resolves when it has ended. Rejects with UsageError if it cannot be started. */
  async run(message: Message, saved: SavedFile | undefined, input: string): Promise<ProgramEnd> {
    const child = spawn(this.name, this.#args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...variablesOf(message, saved) },
      // In its own process group: Ctrl-C does not reach it.
      detached: process.platform !== 'win32',
    })
    this.#running.add(child)
    try {
      return await ended(child, input)
    } catch (error) {
      throw cannotRun(this.name, pathReason(error))
    } finally {
      this.#running.delete(child)
    }
  }
}

async function ended(child: ChildProcess, input: string): Promise<ProgramEnd> {
  const { stdin, stdout } = child
  const parts: Buffer[] = []
  let bytes = 0
  stdout?.on('data', (part: Buffer) => {
    if (bytes < resultBytes) parts.push(part.subarray(0, resultBytes - bytes))
    bytes += part.length
  })
  const closed = once(child, 'close')
  closed.catch(() => {})
  // The program need not read its input.
  stdin?.on('error', () => {})
  stdin?.end(input)
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  await Promise.race([closed, pause(outputMs, undefined, { ref: false })])
  stdout?.destroy()
  return { code, signal, result: textOf(Buffer.concat(parts)) }
}

/** Decodes the text, without a character that was cut, and without newlines at its end. */
const textOf = (bytes: Buffer) => new TextDecoder().decode(bytes, { stream: true }).replace(/\n+$/u, '')

/** Returns the environment variables that describe a message. */
const variablesOf = ({ from, id, seq, attempt, sentAt, file }: Message, saved: SavedFile | undefined) => ({
  ...(file && { OSP_FILE: file.name, OSP_OWNER: file.owner, OSP_SIZE: `${file.size}`, OSP_DIGEST: file.digest }),
  ...(saved && 'path' in saved && { OSP_SAVED: saved.path }),
  OSP_FROM: from,
  OSP_ID: id,
  OSP_SEQ: `${seq}`,
  OSP_ATTEMPT: `${attempt}`,
  OSP_SENT_AT: sentAt.toISOString(),
})

/** Kills a program and its child processes. */
function kill(child: ChildProcess): void {
  try {
    if (process.platform === 'win32' || child.pid === undefined) child.kill('SIGKILL')
    else process.kill(-child.pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}
