import { once } from 'node:events'
import { chmod, link, lstat, mkdir, mkdtemp, rm, rmdir } from 'node:fs/promises'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { OspError } from '../../errors.ts'
import { attempt, errnoOf, unless } from '../disk/faults.ts'
import { removeDead } from './dead.ts'
import { type ControlPlace, checkShortPlace } from './place.ts'

/** How often a place is tried that another program is freeing, and how long is waited between. */
const tries = 200
const pauseMs = 5

/**
 * Lets a server listen at the place, for the owner alone; resolves with what ends that and removes the socket's file.
 * Rejects with OspError `data-locked` if somebody else listens there.
 */
export async function listenAt(server: Server, place: ControlPlace): Promise<() => Promise<void>> {
  const { path, folder, isShort } = place
  if (folder !== undefined) return await (isShort ? listenInside : listenAside)(server, path, folder)
  if (!(await placed(['EADDRINUSE'], () => listening(server, path)))) throw locked(path)
  return async () => void server.close()
}

/** Nobody else can enter the short place, so the socket is made in it at once. */
async function listenInside(server: Server, path: string, folder: string): Promise<() => Promise<void>> {
  await exclusively(path, async () => {
    await unless(['EEXIST'], `making ${folder}`, () => mkdir(folder, { mode: 0o700 }))
    await checkShortPlace(folder)
    // A program that ends removes the folder.
    return await placed(['EADDRINUSE', 'ENOENT'], () => listening(server, path))
  })
  await attempt(`setting the rights of ${path}`, () => chmod(path, 0o600))
  return async () => {
    // This removes the file too, since it was made under that name.
    server.close()
    // Another program can have made its socket there.
    await unless(['ENOENT', 'ENOTEMPTY'], `removing ${folder}`, () => rmdir(folder))
  }
}

/**
 * Others can perhaps enter the directory, and a new socket has the rights that the system chooses: so it is made in a
 * directory of its own, which they can't enter, and linked to its place when its rights are set.
 */
async function listenAside(server: Server, path: string, folder: string): Promise<() => Promise<void>> {
  const aside = await attempt(`making a directory in ${folder}`, () => mkdtemp(join(folder, 'control-')))
  const first = join(aside, 's')
  try {
    await attempt(`listening at ${first}`, () => listening(server, first))
    await attempt(`setting the rights of ${first}`, () => chmod(first, 0o600))
    const { ino } = await attempt(`looking at ${first}`, () => lstat(first))
    await exclusively(path, () => placed(['EEXIST'], () => link(first, path)))
    return async () => {
      try {
        // Somebody may have moved the directory, and another be at work there now.
        const there = await unless(['ENOENT'], `looking at ${path}`, () => lstat(path))
        if (there?.ino === ino) await attempt(`removing ${path}`, () => rm(path, { force: true }))
      } finally {
        server.close()
      }
    }
  } finally {
    await attempt(`removing ${aside}`, () => rm(aside, { recursive: true, force: true }))
  }
}

async function listening(server: Server, path: string): Promise<void> {
  await once(server.listen({ path, exclusive: true }), 'listening')
}

/** Puts a socket to its place by `put`, which says whether it could; one that nobody listens at is removed first. */
async function exclusively(path: string, put: () => Promise<boolean>): Promise<void> {
  for (let left = tries; left > 0; left--) {
    if (await attempt(`making ${path}`, put)) return
    const state = await removeDead(path)
    if (state === 'alive') break
    if (state === 'busy') await pause(pauseMs)
  }
  throw locked(path)
}

/** Does it; resolves with `false` where the errno is one of these. */
async function placed(errnos: readonly string[], put: () => Promise<void>): Promise<boolean> {
  try {
    await put()
    return true
  } catch (error) {
    if (errnos.includes(errnoOf(error) ?? '')) return false
    throw error
  }
}

const locked = (path: string) =>
  new OspError('data-locked', `another process answers at ${path}; stop it or name another directory`)
