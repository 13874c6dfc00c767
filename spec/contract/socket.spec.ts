import { memoryTransport } from '../../lib/adapters/memoryTransport.ts'
import { tcp } from '../../lib/adapters/tcp.ts'
import { socketContract } from './socket.ts'

socketContract('memory', () => {
  const memory = memoryTransport()
  return { listening: memory, reaching: () => memory }
})

socketContract('tcp', () => ({
  listening: tcp({ port: 0 }),
  reaching: ({ host, port }) => tcp({ host, port }),
}))
