import type { Socket as ByteStream } from 'node:net'
import { OspError } from '../errors.ts'
import { unreachable } from './unreachable.ts'

/**
 * Waits until a stream that is being connected to `place` tells `event`, and then returns what `use` makes of it
 * in the same turn, so that nothing of it is missed. Rejects with what `fault` makes of an error (by default an
 * OspError `unreachable`), or `closed` if `signal` aborts before; the stream is destroyed then.
 */
export function connected<T>(
  stream: ByteStream,
  event: 'connect' | 'secureConnect',
  place: string,
  signal: AbortSignal,
  use: () => T,
  fault: (error: Error) => OspError = (error) => unreachable('connect', place, error),
): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      reject(new OspError('closed', `connecting to ${place} was given up`))
      stream.destroy()
    }
    // It stays: whoever fails a second time is not unheard either.
    stream.on('error', (error) => {
      signal.removeEventListener('abort', giveUp)
      reject(fault(error))
    })
    stream.once(event, () => {
      signal.removeEventListener('abort', giveUp)
      resolve(use())
    })
    if (signal.aborted) giveUp()
    else signal.addEventListener('abort', giveUp, { once: true })
  })
}
