import * as z from 'zod/mini'
import { type ErrorCode, errors } from './errors.ts'
import { faultOfUserName, isStoredFileName, isUserName } from './names.ts'

/** The code of an error. */
export const errorCode = z.custom<ErrorCode>((code) => typeof code === 'string' && Object.hasOwn(errors, code))

/** The name of a stored file, in a record that is read back. */
export const storedFileName = z.string().check(z.refine(isStoredFileName))

/** The name of a user, in a record that is read back. The message of a fault is the one of `checkUserName`. */
export const userName = z
  .string()
  .check(z.refine(isUserName, { error: ({ input }) => faultOfUserName(input as string) }))
