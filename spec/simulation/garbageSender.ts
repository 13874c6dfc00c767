import { OspError } from '../../lib/errors.ts'
import { defaultLimits, fixed, MiB } from '../../lib/limits.ts'
import { LinkDriver } from '../../lib/runtime/linkDriver.ts'
import type { RequestName, WireMessage } from '../../lib/wire/message.ts'
import { registFlags, version } from '../../lib/wire/protocol.ts'
import type { SeededRandom } from '../support/random.ts'
import { SimulatedProcess } from './process.ts'
import type { VisitParts } from './visit.ts'

/** The user of the garbage sender, who owns no checked files or messages. */
const user = 'mallory'

/** Maximum duration of a garbage sender. */
const stayMs = 90_000

/** Logs in and sends useless requests. The server must answer them, without a disadvantage for other clients. */
export async function sendGarbage(parts: VisitParts, dice: SeededRandom): Promise<void> {
  const process = new SimulatedProcess(`garbage sender ${parts.visitors.size + 1}`, parts.machine)
  parts.trace.tell(`${process.name} comes`)
  const leaving = new AbortController()
  const visitor = { process, client: { close: async () => leaving.abort() }, gone: false }
  parts.visitors.add(visitor)
  process.within(stayMs, () => leaving.abort())
  const asked = Array.from({ length: dice.integer(1, 12, 'requests of a babbler') }, () => nonsense(dice))
  try {
    await talk(parts, process, asked, leaving.signal)
  } catch (error) {
    parts.trace.tell(`${process.name} is turned away: ${OspError.from(error).code}`)
  }
  if (!process.alive) return
  parts.bounds.ended(process)
  visitor.gone = true
}

/** Registers, sends all requests at once, and ends when all are answered, the link has ended, or `signal` aborts. */
async function talk(
  parts: VisitParts,
  process: SimulatedProcess,
  asked: readonly Nonsense[],
  signal: AbortSignal,
): Promise<void> {
  const { platform } = process
  const socket = await parts.network.transportOf(process).dial({ platform, maxPayload: fixed.clientFrameBytes }, signal)
  const { keepAliveMs } = defaultLimits
  const peer = new LinkDriver(
    socket,
    {
      platform,
      side: 'client',
      keepAliveMs,
      unsentBytes: MiB,
      fraction: () => platform.random.fraction('request jitter'),
    },
    { request: (request) => peer.refuse(request, new OspError('malformed')), notice() {}, closed() {} },
  )
  const stop = () => void peer.closeQuietly(new OspError('closed'))
  signal.addEventListener('abort', stop)
  try {
    const session = new Uint8Array(16).fill(parts.visitors.size)
    const who = { userName: user, token: parts.tokens.said(user), session, software: 'simulation' }
    await peer.ask({ event: 'HelloReq', versions: [version], ...who, features: 0, attempt: undefined }).reply
    const { instance: own } = await peer.ask({ event: 'RegistReq', userName: user, flags: 0 }).reply
    await Promise.allSettled(asked.map(({ message, instance = own }) => peer.ask(message, instance).reply))
  } finally {
    signal.removeEventListener('abort', stop)
    await peer.closeQuietly(new OspError('closed'))
  }
}

/** Generates a well-formed request that no server can fulfil. */
interface Nonsense {
  readonly message: WireMessage<RequestName>
  /** Default: the granted instance. */
  readonly instance?: number
}

const to = (recipients: readonly string[]) => ({
  messageId: new Uint8Array(16),
  recipients,
  body: new Uint8Array(1),
})

function nonsense(dice: SeededRandom): Nonsense {
  const { recipients } = defaultLimits
  const instance = dice.pick([-1, -1, 0, 1, 3, 65_535], 'instance of nonsense')
  const fileName = dice.pick(['', '..', '/a', 'a//b', 'a\0b'], 'name of nonsense')
  const many = Array.from({ length: recipients + 1 }, (_, at) => `nobody-${at}`)
  const upload = { fileName, size: dice.pick([0, 2 ** 50], 'size of nonsense'), modifiedAt: 0, digest: 99 }
  const message = dice.pick<WireMessage<RequestName>>(
    [
      { event: 'StartPostFileReq', ...upload },
      { event: 'ContinuePostFileReq', ...upload, progress: 2 ** 51 },
      { event: 'FileMd5Req', digest: new Uint8Array(3) },
      { event: 'PauseFileReq' },
      { event: 'CancelFileReq', fileName },
      { event: 'RegistReq', userName: 'nobody', flags: registFlags.listening },
      { event: 'PostMsgReq', messages: [] },
      { event: 'PostMsgReq', messages: [to([])] },
      { event: 'PostMsgReq', messages: [to(many), to(['..'])] },
      { event: 'ListReq' },
      { event: 'PingReq' },
    ],
    'nonsense',
  )
  return instance < 0 ? { message } : { message, instance }
}
