import type { Request } from '../../lib/core/link.ts'
import type { OspError } from '../../lib/errors.ts'
import { LinkDriver } from '../../lib/runtime/linkDriver.ts'
import type { NoticeName, WireMessage } from '../../lib/wire/message.ts'
import { FakeSocket } from '../support/fakeSocket.ts'
import { VirtualClock } from '../support/virtualClock.ts'

/** A peer on a fake socket and a virtual clock, and all that it tells its owner. */
export class Rig {
  readonly clock = new VirtualClock()
  readonly socket: FakeSocket
  readonly peer: LinkDriver
  readonly requests: Request[] = []
  readonly notices: WireMessage<NoticeName>[] = []
  readonly ends: OspError[] = []
  onRequest: (request: Request) => void = () => {}

  constructor({ side = 'client' as 'client' | 'server', reliable = true, unsentBytes = 1_000 } = {}) {
    this.socket = new FakeSocket({ reliable })
    const platform = { clock: this.clock }
    this.peer = new LinkDriver(
      this.socket,
      { platform, side, keepAliveMs: 16_000, unsentBytes, fraction: () => 0 },
      {
        request: (request) => {
          this.requests.push(request)
          this.onRequest(request)
        },
        notice: (message) => this.notices.push(message),
        closed: (why) => this.ends.push(why),
      },
    )
  }

  /** The codes that it ended with: one at most. */
  get codes(): string[] {
    return this.ends.map(({ code }) => code)
  }
}
