import type { Platform } from '../../lib/ports/platform.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import type { Storage } from '../../lib/ports/storage.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import type { MortalPlace } from './mortalPlace.ts'
import type { Link } from './network.ts'

/** Where bytes of an upload lie. */
export interface StoredAt {
  readonly user: string
  readonly name: string
  /** Of the first of them. */
  readonly offset: number
}

/**
 * What of a world is one's own: layers around what is simulated, made anew for each run of a program, or a place of its own
 * in the stead of the simulated disk. They wait and draw by the platform that they are given only. A world looks at files and
 * frames below layers; so a layer that changes these comes with a way to look through it.
 */
export interface OwnLayers {
  /**
   * Where a server keeps everything, made once for each world; `machine` outlives the runs of the server. There is no layer
   * around the simulated storage then.
   */
  readonly place?: ((machine: Platform) => MortalPlace) | undefined
  /** Around the storage of a server. */
  readonly storage?: ((simulated: Storage) => Storage) | undefined
  /** Of bytes that it has stored, the bytes of the upload; they are as many. */
  readonly plainBytes?: ((stored: Uint8Array, at: StoredAt) => Uint8Array) | undefined
  /** Around the network of a server or a client. */
  readonly transport?: ((simulated: Transport) => Transport) | undefined
  /** Of a frame that it has sent, the frame that it was given. */
  readonly plainFrame?: ((sent: Frame) => Frame) | undefined
}

/** Lets those who look at a link see its frames as they were given to the layers above it. */
export function unveil({ client, server }: Link, plain: (sent: Frame) => Frame): void {
  for (const end of [client, server]) {
    const { heard, sent } = end
    end.sent = (frame) => sent(plain(frame))
    end.heard = (frame) => {
      heard(plain(frame))
      return frame
    }
  }
}
