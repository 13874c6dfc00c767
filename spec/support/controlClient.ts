import { once } from 'node:events'
import { link, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Answering } from '../../lib/ports/control.ts'

/** A client of a control socket that ignores the protocol. */
export interface ControlClient extends Disposable {
  write(text: string): void
  /** Resolves with all received lines when the other side has ended. */
  readonly lines: Promise<readonly unknown[]>
  /** Resolves when the first bytes have arrived. */
  readonly answered: Promise<void>
  /** Stops reading. */
  stopReading(): void
}

/** Connects. If nothing is listening, the client ends without a line. */
export function controlClient(directory: string): ControlClient {
  const socket = connect(join(directory, 'control.sock'))
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  // A reset arrives after everything that was sent.
  socket.on('error', () => {})
  return {
    write: (text) => void socket.write(text),
    lines: new Promise((resolve) => {
      socket.on('close', () => resolve(text.split('\n').flatMap((line) => (line ? [JSON.parse(line)] : []))))
    }),
    answered: new Promise((resolve) => socket.once('data', () => resolve())),
    stopReading: () => void socket.pause(),
    [Symbol.dispose]: () => void socket.destroy(),
  }
}

/** Leaves a control socket behind, as a killed process does. */
export async function deadSocket(directory: string): Promise<void> {
  const path = join(directory, 'first')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(path, resolve))
  await link(path, join(directory, 'control.sock'))
  await new Promise((resolve) => server.close(resolve))
  await rm(path, { force: true })
}

/** A program that listens on the socket and answers each connection with this text. */
export async function strangeServer(directory: string, text: string, ends: boolean): Promise<AsyncDisposable> {
  const server = createServer((socket) => {
    socket.on('error', () => {}).resume()
    if (ends) socket.end(text)
    else socket.write(text)
  })
  await new Promise<void>((resolve) => server.listen(join(directory, 'control.sock'), resolve))
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) }
}

/** A program that listens on the socket and closes each connection at once. `waitForClosed` blocks this thread until it has done so. */
export async function closingServer(directory: string): Promise<AsyncDisposable & { waitForClosed(): void }> {
  const closed = new Int32Array(new SharedArrayBuffer(4))
  const program = `
    const { workerData: { path, closed }, parentPort } = require('node:worker_threads')
    const server = require('node:net').createServer((socket) => {
      socket.destroy()
      Atomics.store(closed, 0, 1)
      Atomics.notify(closed, 0)
    })
    server.listen(path, () => parentPort.postMessage('ready'))`
  const worker = new Worker(program, { eval: true, workerData: { path: join(directory, 'control.sock'), closed } })
  await once(worker, 'message')
  return {
    waitForClosed: () => void Atomics.wait(closed, 0, 0),
    [Symbol.asyncDispose]: async () => void (await worker.terminate()),
  }
}

/** A handler that runs until its signal aborts, and the requests that it has received. */
export function endless(first?: unknown) {
  const seen = { begun: 0, ended: 0 }
  const waiting = new Set<() => void>()
  const look = () => {
    for (const check of waiting) check()
  }
  const handle: Answering = async (_request, reply, signal) => {
    seen.begun++
    if (first !== undefined) reply(first)
    look()
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    seen.ended++
    look()
  }
  const until = (holds: (seen: Readonly<{ begun: number; ended: number }>) => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => holds(seen) && resolve()
      waiting.add(check)
      check()
    })
  return { handle, until }
}
