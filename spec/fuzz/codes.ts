import { type ErrorCode, errors, OspError } from '../../lib/errors.ts'

/** Throws if `error` is not an OspError of a known code, or is `internal`: input must not cause internal errors. */
export function assertCoded(error: unknown, ...codes: readonly ErrorCode[]): void {
  if (!(error instanceof OspError)) throw error
  if (!Object.hasOwn(errors, error.code)) throw new Error(`the code ${error.code} is not known`, { cause: error })
  if (codes.length === 0 ? error.code === 'internal' : !codes.includes(error.code)) {
    throw new Error(`the code ${error.code} is not allowed here: ${error.message}`, { cause: error })
  }
}

/** Resolves with the result of `work`, or with `undefined` if it rejects with a permitted code. */
export async function coded<T>(work: () => Promise<T> | T, ...codes: readonly ErrorCode[]): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    assertCoded(error, ...codes)
    return undefined
  }
}
