import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Attack } from './attack.ts'
import { BareLink, type Make } from './bareLink.ts'

/** Repeats `one` until `signal` aborts, `atOnce` at a time. */
export async function again(atOnce: number, signal: AbortSignal, one: (at: number) => Promise<void>): Promise<void> {
  const row = async (at: number) => {
    while (!signal.aborted) await one(at)
  }
  await Promise.all(Array.from({ length: atOnce }, (_, at) => row(at)))
}

export type Run = Attack['run']

/** Keeps `links` links open for each of `users`; `use` runs on each link. */
export function byLinks(
  users: readonly string[],
  links: number,
  use: (link: BareLink, signal: AbortSignal, at: number) => Promise<void>,
): Run {
  return (target, signal) =>
    again(users.length * links, signal, async (at) => {
      const user = users[at % users.length] ?? ''
      const link = await BareLink.letIn(target, user, { from: 1 + (at % 4), session: `${user}-${at}` })
      if (link) await use(link, signal, at)
      link?.stream.destroy()
      await pause(100)
    })
}

/** The user of the attacks by a single user. */
export const mallory = 'user-0'

/** Sends one kind of request on one link of a user, as fast as the server accepts it. */
export const flooding = (make: Make, most?: number): Run =>
  byLinks([mallory], 1, (link, signal) => link.flood(make, signal, most))

export const start = (fileName: string, size = 1_000) =>
  ({ event: 'StartPostFileReq', fileName, size, modifiedAt: 1, digest: 2 }) as const

/** SHA-256 of an empty file. */
export const ofNothing = createHash('sha256').digest()

export const users = { server: 'users' } as const
