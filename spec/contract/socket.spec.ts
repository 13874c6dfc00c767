import { memoryTransport } from '../../lib/adapters/memoryTransport.ts'
import { tcp } from '../../lib/adapters/tcp.ts'
import { tls } from '../../lib/adapters/tls.ts'
import { selfSigned } from '../support/selfSigned.ts'
import { socketContract } from './socket.ts'

socketContract('memory', () => {
  const memory = memoryTransport()
  return { listening: memory, reaching: () => memory }
})

socketContract('tcp', () => ({
  listening: tcp({ port: 0 }),
  reaching: ({ host, port }) => tcp({ host, port }),
}))

const identity = selfSigned()

socketContract('tls', () => ({
  listening: tls({ port: 0, ...identity }),
  reaching: ({ host, port }) => tls({ host, port, ...identity, ca: identity.cert }),
}))
