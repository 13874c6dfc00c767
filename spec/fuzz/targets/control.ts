import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { openControl } from '../../../bin/serve/control.ts'
import { readError, replyOf, serveControl } from '../../../lib/adapters/controlSocket/controlSocket.ts'
import { RunningClient } from '../../../lib/client/runningClient.ts'
import { requestBounds } from '../../../lib/client/tasks/requests.ts'
import { ServedTasks } from '../../../lib/client/tasks/serveTasks.ts'
import type { Answering, Control } from '../../../lib/ports/control.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { turn } from '../../support/turn.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'
import { assertCoded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { jsonLike } from '../json.ts'
import { cutUp, mutated } from '../mutate.ts'
import { deterministicPlatform } from '../server/streamTransport.ts'
import type { Pieces, Target } from '../target.ts'

const programs = ['ospd', 'osp'] as const
const newTask = { ref: '/a', name: 'a', digest: 'sha256' }
const requests = [
  { ask: 'status' },
  { do: 'list', after: 0 },
  { do: 'add', tasks: [newTask, { ref: 'C:\\b', name: 'b' }], waiter: 1 },
  { do: 'add', tasks: Array.from({ length: requestBounds.added }, (_, at) => ({ ref: `/${at}`, name: `${at}` })) },
  { do: 'pause', ids: [1] },
  { do: 'pause' },
  { do: 'continue', ids: [1, 2] },
  { do: 'cancel', ids: [1, 2], waitMs: 100 },
  { do: 'await' },
]

const noTask: Answering = () => {}

/** The control sockets of a daemon and of a sending program: any line is answered, or refused with a code. */
export async function controlTarget(): Promise<Target> {
  const directory = await temporaryDirectory()
  const [ospd, osp] = programs.map((name) => join(directory.path, name)) as [string, string]
  await mkdir(ospd)
  await mkdir(osp)
  const status = () => ({ links: 0, users: [], online: [], uploads: [] })
  const unfinished = async () => []
  const removeUnfinished = async () => false
  const mailboxes = async () => [{ user: 'a', messages: 1, bytes: 2 }]
  const server = { addresses: [], status, mailboxes, unfinished, removeUnfinished }
  const limits = { mailboxMessages: 1, mailboxBytes: 1 }
  const daemon = await openControl(ospd, server, { limits, fingerprint: () => undefined, log: () => {} })
  let answering = noTask
  const sender = await serveControl(osp, (...asked) => answering(...asked))
  const control: Control = {
    async serve(given) {
      answering = given
      const close = async () => {
        answering = noTask
      }
      return { close, [Symbol.asyncDispose]: close }
    },
    ask: () => Promise.reject(new Error('this server is not called')),
  }
  return {
    make,
    run: ([[which = 0] = [], ...pieces]) =>
      which === 0 ? converse(ospd, pieces) : withTasks(control, () => converse(osp, pieces)),
    async [Symbol.asyncDispose]() {
      await daemon.close()
      await sender.close()
      await directory[Symbol.asyncDispose]()
    },
  }
}

/** The program, then the data to send. */
function make(draw: Draw): Pieces {
  const line = Buffer.concat([jsonLike(draw.pick(requests), draw), Buffer.from(draw.once(10) ? '' : '\n')])
  const long = draw.once(300) ? Buffer.alloc(70_000, 0x20) : new Uint8Array(0)
  const bytes = Buffer.concat([long, draw.once(6) ? mutated(line, draw) : line])
  return [Uint8Array.of(draw.below(programs.length)), ...cutUp(bytes, draw, draw.pick([20, 100_000]))]
}

/** Sends this data and ends. Each received line must be a reply, and an error must not have an internal code. */
async function converse(directory: string, pieces: Pieces): Promise<void> {
  const socket = connect(join(directory, 'control.sock'))
  const lines = linesOf(socket)
  for (const piece of pieces) {
    if (!socket.destroyed) socket.write(piece)
    await turn()
  }
  socket.end()
  for (const line of await lines) {
    const reply = replyOf(line)
    if ('error' in reply) assertCoded(readError(reply.error))
  }
}

function linesOf(socket: Socket): Promise<string[]> {
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  // A reset arrives after all sent data.
  socket.on('error', () => {})
  return new Promise((resolve) => socket.on('close', () => resolve(text.split('\n').slice(0, -1))))
}

/**
 * A client that never reaches its server, which serves its tasks, two of them added before; it leaves nothing behind.
 */
async function withTasks(control: Control, work: () => Promise<void>): Promise<void> {
  const platform = deterministicPlatform()
  const never = () => Promise.reject(new Error('there is no server'))
  const client = new RunningClient({ to: { dial: never, listen: never }, user: 'alice', platform, software: 'fuzz' })
  const reopen = (ref: string) => memorySource(ref, patterned(10))
  const served = await ServedTasks.serve({ client, clock: platform.clock, reopen }, control)
  for (const name of ['a', 'b']) (await client.upload(memorySource(name, patterned(10)))).done.catch(() => {})
  await work()
  await client.close()
  for (const { done: finished } of client.uploads) finished.catch(() => {})
  await served.idle()
  await served.close()
  assert.deepEqual(platform.clock.set, [], 'an alarm is left')
}
