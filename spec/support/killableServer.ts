import { disk } from '../../lib/adapters/disk/disk.ts'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { type Limits, serve } from '../../lib/index.ts'
import type { Socket, Transport } from '../../lib/ports/socket.ts'
import type { OnConflict } from '../../lib/ports/storage.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { events } from '../../lib/wire/protocol.ts'
import { type Step, stepped } from './steppedStorage.ts'

type EventName = keyof typeof events

/**
 * The point at which a server kills itself: before or after the `nth` time that it does a step, or before it sends an
 * event.
 */
export interface Kill {
  readonly at: Step | EventName
  readonly when: 'before' | 'after'
  readonly nth: number
}

/** Instructions for the program, passed as JSON in its only argument. */
export interface KillableServerOrders {
  readonly data: string
  readonly kill: Kill
  readonly limits: Partial<Limits>
  readonly onConflict: OnConflict
}

const { data, kill, limits, onConflict }: KillableServerOrders = JSON.parse(process.argv[2] ?? '')
let times = 0

/** Kills this process at the specified point. */
function reached(at: Kill['at'], when: Kill['when']): void {
  if (at !== kill.at || when !== kill.when || ++times < kill.nth) return
  process.kill(process.pid, 'SIGKILL')
}

const storage = stepped(disk(data), async (step, run) => {
  reached(step, 'before')
  const result = await run()
  reached(step, 'after')
  return result
})

const nameOf = new Map(Object.entries(events).map(([name, { number }]) => [number, name as EventName]))

function killing(socket: Socket): Socket {
  return new Proxy(socket, {
    get(target, key) {
      const value = Reflect.get(target, key, target)
      if (key !== 'send') return typeof value === 'function' ? value.bind(target) : value
      return (frame: Frame, left?: () => void) => {
        const event = nameOf.get(frame.event)
        if (event) reached(event, 'before')
        return target.send(frame, () => {
          if (event) reached(event, 'after')
          left?.()
        })
      }
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
  })
}

const plain = tcp({ port: 0 })
const listen: Transport = {
  dial: plain.dial,
  async listen(options) {
    const listener = await plain.listen(options)
    return {
      address: listener.address,
      start: (accept) => listener.start((socket) => accept(killing(socket))),
      close: () => listener.close(),
      [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
    }
  },
}

const server = await serve({ storage, listen, limits, onConflict })
console.log(`ready on ${server.addresses[0]?.port}`)
