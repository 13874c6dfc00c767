/**
 * `plainLog.ts PORT FILE`: acknowledges frames after they are in a log that is flushed in groups, and forwards them to the
 * subscribers. A frame of one byte subscribes; an acknowledgement is a frame of one byte.
 */
import { closeSync, fdatasync, openSync, write } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { eachFrame } from './messageContest.ts'

const [port, path = ''] = process.argv.slice(2)
const log = openSync(path, 'w')
const subscribers = new Set<Socket>()
const acknowledgement = Buffer.from([1, 0, 0, 0, 0])
let waiting: { readonly socket: Socket; readonly frame: Buffer }[] = []
let flushing = false

function flush(): void {
  if (flushing || waiting.length === 0) return
  flushing = true
  const group = waiting
  waiting = []
  const bytes = Buffer.concat(group.map(({ frame }) => frame))
  write(log, bytes, () =>
    fdatasync(log, () => {
      flushing = false
      const counts = new Map<Socket, number>()
      for (const { socket } of group) counts.set(socket, (counts.get(socket) ?? 0) + 1)
      for (const [socket, count] of counts) socket.write(Buffer.concat(Array<Buffer>(count).fill(acknowledgement)))
      for (const subscriber of subscribers) subscriber.write(bytes)
      flush()
    }),
  )
}

createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {}).on('close', () => subscribers.delete(socket))
  eachFrame(socket, (frame) => {
    if (frame.length === 5) subscribers.add(socket)
    else waiting.push({ socket, frame: Buffer.from(frame) })
  })
  socket.on('data', flush)
}).listen(Number(port), '127.0.0.1')
process.on('exit', () => closeSync(log))
