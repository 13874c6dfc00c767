import { memoryTransport } from '../../lib/adapters/memoryTransport.ts'
import { tcp } from '../../lib/adapters/tcp.ts'
import { tls } from '../../lib/adapters/tls.ts'
import { transportContract } from '../../lib/simulation.ts'
import { proved } from '../support/proved.ts'
import { selfSigned } from '../support/selfSigned.ts'

proved(
  transportContract('memory', () => {
    const memory = memoryTransport()
    return { listening: memory, reaching: () => memory }
  }),
)

proved(
  transportContract('tcp', () => ({
    listening: tcp({ port: 0 }),
    reaching: ({ host, port }) => tcp({ host, port }),
  })),
)

const identity = selfSigned()

proved(
  transportContract('tls', () => ({
    listening: tls({ port: 0, ...identity }),
    reaching: ({ host, port }) => tls({ host, port, ...identity, ca: identity.cert }),
  })),
)
