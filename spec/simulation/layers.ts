import type { Platform } from '../../lib/ports/platform.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import type { Storage } from '../../lib/ports/storage.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import type { MortalPlace } from './mortalPlace.ts'
import type { Link } from './network.ts'

/** The location of bytes of an upload. */
export interface StoredAt {
  readonly user: string
  readonly name: string
  /** The offset of the first byte. */
  readonly offset: number
}

/**
 * The user's own parts of a world: layers around simulated parts, created for each run of a program, or a storage
 * instead of the simulated disk. They use only the clock and the random numbers of their platform. A world checks files
 * and frames below the layers, so a layer that changes them also provides the inverse.
 */
export interface OwnLayers {
  /**
   * Creates the location of the server's data, once per world. `machine` outlives the runs of the server. Excludes a
   * layer around the simulated storage.
   */
  readonly place?: ((machine: Platform) => MortalPlace) | undefined
  /** Wraps the storage of a server. */
  readonly storage?: ((simulated: Storage) => Storage) | undefined
  /** Returns the original bytes for bytes that the layer has stored, of the same length. */
  readonly plainBytes?: ((stored: Uint8Array, at: StoredAt) => Uint8Array) | undefined
  /** Wraps the transport of a server or a client. */
  readonly transport?: ((simulated: Transport) => Transport) | undefined
  /** Returns the original frame for a frame that the layer has sent. */
  readonly plainFrame?: ((sent: Frame) => Frame) | undefined
}

/** Shows the watchers of a link its frames as the layers above received them. */
export function showPlainFrames({ client, server }: Link, plain: (sent: Frame) => Frame): void {
  for (const end of [client, server]) {
    const { heard, sent } = end
    end.sent = (frame) => sent(plain(frame))
    end.heard = (frame) => {
      heard(plain(frame))
      return frame
    }
  }
}
