/** Everything in memory: for tests, and for programs that are server and client in one. */
export { type MemoryOptions, type MemoryStorage, memory } from './adapters/memory/memoryStorage.ts'
export { memoryTransport } from './adapters/memory/memoryTransport.ts'
