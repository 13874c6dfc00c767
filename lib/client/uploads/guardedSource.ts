import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { having, shown } from '../../options.ts'
import type { FileSource, OpenSource, TakeMemory, WholeContent } from '../../ports/source.ts'
import type { MaybePromise } from '../../runtime/settled.ts'

/** A source whose results are checked. */
export interface GuardedSource extends OpenSource {
  /** Like `unchanged`, but does not check whether there is a byte after the end. */
  isSame(): Promise<boolean>
}

/**
 * Opens `source`. Its errors become OspError `source-unreadable` unless they are OspErrors. Invalid values are `usage`, and a
 * size that the protocol cannot carry is `too-large`. A source with a byte after its end counts as changed.
 */
export async function openGuarded(source: FileSource, signal: AbortSignal): Promise<GuardedSource> {
  const { name } = source
  const open = await guarded(name, () => source.open(signal))
  if (!openSource.holds(open)) {
    throw invalid(name, `open() resolved with ${shown(open)}, which must be ${openSource.takes}`)
  }
  try {
    checkWhole(name, 'size', open.size, 'bytes')
    if (open.size > fixed.mostFileBytes) {
      const text = `${name} has more than ${fixed.mostFileBytes} bytes (8 PiB), the maximum size of a file`
      throw new OspError('too-large', text)
    }
    checkWhole(name, 'modifiedAt', open.modifiedAt, 'milliseconds')
  } catch (error) {
    await open[Symbol.asyncDispose]?.()
    throw error
  }
  const read = async (into: Uint8Array, offset: number) => {
    const bytes = await guarded(name, () => open.read(into, offset))
    if (Number.isInteger(bytes) && bytes >= 0 && bytes <= into.length) return bytes
    throw invalid(name, `read() resolved with ${shown(bytes)} for ${into.length} bytes`)
  }
  const isSame = () => guarded(name, () => open.unchanged())
  return {
    size: open.size,
    modifiedAt: open.modifiedAt,
    ...(typeof open.identity === 'string' && { identity: open.identity }),
    read,
    isSame,
    unchanged: async () => (await isSame()) && (await read(new Uint8Array(1), open.size)) === 0,
    [Symbol.asyncDispose]: async () => await open[Symbol.asyncDispose]?.(),
  }
}

/** Reads a whole source in one call. Returns `undefined` if it must be opened instead, even if reading failed. */
export function readWhole(
  source: FileSource,
  maxBytes: number,
  memory: { take: TakeMemory },
): MaybePromise<WholeContent | undefined> {
  try {
    const whole = source.readWhole?.(maxBytes, (bytes) => memory.take(bytes))
    if (!(whole instanceof Promise)) return checkedWhole(source, maxBytes, whole)
    // Opening the source fails with the error that the user needs.
    return whole.then((read) => checkedWhole(source, maxBytes, read)).catch(() => undefined)
  } catch {
    return undefined
  }
}

function checkedWhole(source: FileSource, maxBytes: number, whole: WholeContent | undefined): WholeContent | undefined {
  if (!(whole?.content instanceof Uint8Array) || whole.content.length > maxBytes) return undefined
  checkWhole(source.name, 'modifiedAt', whole.modifiedAt, 'milliseconds')
  return whole
}

const openSource = having('an object with the methods read and unchanged', 'read', 'unchanged')

function checkWhole(name: string, field: 'size' | 'modifiedAt', value: unknown, unit: string): void {
  const isWhole = field === 'size' ? Number.isInteger(value) : Number.isSafeInteger(value)
  if (isWhole && (value as number) >= 0) return
  throw invalid(name, `its ${field} is ${shown(value)}; it must be a whole number of ${unit}, 0 or more`)
}

const invalid = (name: string, text: string) => new OspError('usage', `the source of ${name} is invalid: ${text}`)

async function guarded<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof OspError) throw error
    const text = error instanceof Error ? error.message : String(error)
    throw new OspError('source-unreadable', `${name} cannot be read: ${text}`, { cause: error })
  }
}
