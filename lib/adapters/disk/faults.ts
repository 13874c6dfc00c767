import { OspError } from '../../errors.ts'

const full = new Set(['ENOSPC', 'EDQUOT'])
/** What LevelDB says instead of an errno. */
const fullText = /no space left|quota exceeded/i

/** The errno of an error from `node:fs`, such as `ENOENT`. */
export function errnoOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}

/** An unexpected error as OspError `disk-full` or `internal`; `doing` names the act and the path, "writing /data/x". */
export function fault(cause: unknown, doing: string): OspError {
  if (cause instanceof OspError) return cause
  if (isFull(cause))
    return new OspError('disk-full', `${doing} failed: the disk is full or a quota is used up`, { cause })
  return new OspError('internal', `${doing} failed: ${textOf(cause)}`, { cause })
}

/** Whether it says that there is no room; what classic-level rejects with says so only in its cause. */
export function isFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return full.has(errnoOf(error) ?? '') || fullText.test(error.message) || isFull(error.cause)
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message} (${textOf(error.cause)})` : error.message
}

/** What `work` resolves with, or `fault` of what it rejects with. */
export async function attempt<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw fault(error, doing)
  }
}

/** Like `attempt`, but resolves with `undefined` where the errno is one of `expected`. */
export async function unless<T>(
  expected: readonly string[],
  doing: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  return attempt(doing, async () => {
    try {
      return await work()
    } catch (error) {
      if (expected.includes(errnoOf(error) ?? '')) return undefined
      throw error
    }
  })
}
