/** The adapters in memory, for tests and for programs that contain both server and client. */
export { type MemoryOptions, type MemoryStorage, memory } from './adapters/memory/memoryStorage.ts'
export { memoryTransport } from './adapters/memory/memoryTransport.ts'
