import { OspError } from '../errors.ts'
import type { FileSource, OpenSource } from '../ports/source.ts'

/** Opens `source`; whatever it throws, then and later, becomes an OspError: `source-unreadable` unless it is one already. */
export async function openGuarded(source: FileSource, signal: AbortSignal): Promise<OpenSource> {
  const { name } = source
  const open = await guarded(name, () => source.open(signal))
  return {
    size: open.size,
    modifiedAt: open.modifiedAt,
    read: (into, offset) => guarded(name, () => open.read(into, offset)),
    unchanged: () => guarded(name, () => open.unchanged()),
    [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
  }
}

async function guarded<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof OspError) throw error
    const text = error instanceof Error ? error.message : String(error)
    throw new OspError('source-unreadable', `${name} cannot be read: ${text}`, { cause: error })
  }
}
