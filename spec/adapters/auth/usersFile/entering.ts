import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { UsersFile } from '../../../../lib/adapters/auth/usersFile.ts'
import { here } from '../../../../lib/testing/authenticator.ts'

/** The users' file of a directory. */
export const fileOf = (directory: string) => join(directory, 'users.json')

export const enter = (users: UsersFile, user: string, token: string) => users.authenticate({ user, token, peer: here })

/** The user does not come in by this token. */
export async function assertOut(users: UsersFile, user: string, token: string, code = 'unauthorized'): Promise<void> {
  await assert.rejects(enter(users, user, token), { code })
}

/** What a users' file tells, from the moment on in which somebody has come. */
export async function watching(users: UsersFile): Promise<(string | undefined)[]> {
  const told: (string | undefined)[] = []
  users.watch((user) => told.push(user))
  await assertOut(users, 'nobody', '')
  return told
}
