import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { tls } from '../../lib/adapters/net/tls.ts'
import { transportContract } from '../../lib/testing.ts'
import { runTestCases } from '../support/runTestCases.ts'
import { selfSigned } from '../support/selfSigned.ts'

runTestCases(
  transportContract('memory', () => {
    const memory = memoryTransport()
    return { listening: memory, reaching: () => memory }
  }),
)

runTestCases(
  transportContract('tcp', () => ({
    listening: tcp({ port: 0 }),
    reaching: ({ host, port }) => tcp({ host, port }),
  })),
)

const identity = selfSigned()

runTestCases(
  transportContract('tls', () => ({
    listening: tls({ port: 0, ...identity }),
    reaching: ({ host, port }) => tls({ host, port, ...identity, ca: identity.cert }),
  })),
)
