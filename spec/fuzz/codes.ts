import { type ErrorCode, errors, OspError } from '../../lib/errors.ts'

/** Throws what is no OspError of a known code, or `internal`: nothing from outside may be taken for a fault of ours. */
export function assertCoded(error: unknown, ...codes: readonly ErrorCode[]): void {
  if (!(error instanceof OspError)) throw error
  if (!Object.hasOwn(errors, error.code)) throw new Error(`the code ${error.code} is not known`, { cause: error })
  if (codes.length === 0 ? error.code === 'internal' : !codes.includes(error.code)) {
    throw new Error(`the code ${error.code} must not come: ${error.message}`, { cause: error })
  }
}

/** What `work` resolves with, or `undefined` where it rejects with a code that may come. */
export async function coded<T>(work: () => Promise<T> | T, ...codes: readonly ErrorCode[]): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    assertCoded(error, ...codes)
    return undefined
  }
}
