import { once } from 'node:events'
import { chmod, link, lstat, mkdir, mkdtemp, rename, rm, rmdir, stat } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { OspError } from '../../errors.ts'
import { attempt, errnoOf, unless } from '../disk/faults.ts'
import { type ControlPlace, checkShortPlace } from './place.ts'

/** How often a socket that nobody listens at is replaced, where another program does so at the same time. */
const tries = 8

/**
 * Lets a server listen at the place, for the owner alone; resolves with what removes the socket's file. Rejects with
 * OspError `data-locked` if somebody listens there.
 */
export async function listenAt(server: Server, place: ControlPlace): Promise<() => Promise<void>> {
  const { path, folder, isShort } = place
  if (folder === undefined) {
    await exclusively(place, () => listening(server, path))
    return async () => {}
  }
  if (isShort) await listenInside(server, place, folder)
  else await listenAside(server, place, folder)
  const { ino } = await attempt(`looking at ${path}`, () => stat(path))
  return async () => {
    // It can be another's by now, who took this one for dead.
    const there = await unless(['ENOENT'], `looking at ${path}`, () => lstat(path))
    if (there?.ino === ino) await unless(['ENOENT'], `removing ${path}`, () => rm(path))
    // Another program can have made its socket there.
    if (isShort) await unless(['ENOENT', 'ENOTEMPTY'], `removing ${folder}`, () => rmdir(folder))
  }
}

/** Nobody else can enter the short place, so the socket is made in it at once. */
async function listenInside(server: Server, place: ControlPlace, folder: string): Promise<void> {
  await unless(['EEXIST'], `making ${folder}`, () => mkdir(folder, { mode: 0o700 }))
  await checkShortPlace(folder)
  await exclusively(place, () => listening(server, place.path))
  await attempt(`setting the rights of ${place.path}`, () => chmod(place.path, 0o600))
}

/**
 * Others can perhaps enter the directory, and a new socket has the rights that the system chooses: so it is made in a
 * directory of its own, which they can't enter, and linked to its place when its rights are set.
 */
async function listenAside(server: Server, place: ControlPlace, folder: string): Promise<void> {
  const aside = await attempt(`making a directory in ${folder}`, () => mkdtemp(join(folder, 'control-')))
  const path = join(aside, 's')
  try {
    await attempt(`listening at ${path}`, () => listening(server, path))
    await attempt(`setting the rights of ${path}`, () => chmod(path, 0o600))
    await exclusively(place, () => link(path, place.path))
  } finally {
    await attempt(`removing ${aside}`, () => rm(aside, { recursive: true, force: true }))
  }
}

async function listening(server: Server, path: string): Promise<void> {
  await once(server.listen({ path, exclusive: true }), 'listening')
}

/** Puts a socket to its place, which fails where one is; one that nobody listens at is removed first. */
async function exclusively({ path, folder }: ControlPlace, put: () => Promise<void>): Promise<void> {
  for (let left = tries; left > 0; left--) {
    const isThere = await attempt(`making ${path}`, () => isTaken(put))
    if (!isThere) return
    if (folder === undefined || !(await removeDead(path))) break
  }
  throw new OspError('data-locked', `another process answers at ${path}; stop it or name another directory`)
}

/** Whether something was there already. */
async function isTaken(put: () => Promise<void>): Promise<boolean> {
  try {
    await put()
    return false
  } catch (error) {
    if (['EEXIST', 'EADDRINUSE'].includes(errnoOf(error) ?? '')) return true
    throw error
  }
}

/** Removes a socket that nobody listens at; resolves with whether the place is free now. */
async function removeDead(path: string): Promise<boolean> {
  const there = await unless(['ENOENT'], `looking at ${path}`, () => lstat(path))
  if (!there) return true
  if (!there.isSocket()) throw new OspError('internal', `${path} is no socket, but stands in its place; move it away`)
  if (await isAlive(path)) return false
  // Another program could have replaced it since: what was moved away is asked once more.
  const away = join(dirname(path), `control.${process.pid}`)
  const moved = await unless(['ENOENT'], `moving ${path}`, () => rename(path, away).then(() => true))
  if (!moved) return true
  const alive = await isAlive(away)
  if (alive) await attempt(`moving ${path} back`, () => rename(away, path))
  else await attempt(`removing ${away}`, () => rm(away))
  return !alive
}

/** Whether somebody listens there: everything but a refusal means so. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.on('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(errnoOf(error) ?? '')))
    socket.on('connect', () => {
      resolve(true)
      socket.destroy()
    })
  })
}
