import { once } from 'node:events'
import { chmod, link, lstat, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { OspError } from '../../errors.ts'
import { attempt, errnoOf, unless } from '../disk/faults.ts'
import { type ControlPlace, checkPrivate, pointedAt, pointer, removePrivate, socketAt, socketPath } from './place.ts'

/** How often a place is tried that another program is freeing, and how long is waited between. */
const tries = 200
const pauseMs = 5

/**
 * Lets a server listen at the place, for the owner alone; resolves with what ends that and removes the socket's file.
 * Rejects with OspError `data-locked` if another program listens there.
 */
export async function listenAt(server: Server, { path, folder }: ControlPlace): Promise<() => Promise<void>> {
  if (folder !== undefined) return await listenInside(server, path, folder)
  if (!(await placed(['EADDRINUSE'], () => listening(server, { path })))) throw locked(path)
  return async () => void server.close()
}

/**
 * Others can perhaps enter the directory, and a new socket has the rights that the system chooses: so it is made in a
 * directory of its own, which they can't enter, and linked to its place when its rights are set.
 */
async function listenInside(server: Server, path: string, folder: string): Promise<() => Promise<void>> {
  const aside = await attempt(`making a directory in ${folder}`, () => mkdtemp(join(folder, 'control-')))
  try {
    const first = join(aside, 's')
    const stop = await listenFirst(server, aside, first)
    try {
      const { ino } = await attempt(`looking at ${first}`, () => lstat(first))
      await exclusively(path, () => placed(['EEXIST'], () => link(first, path)))
      return async () => {
        try {
          // Somebody may have moved the directory, and another be at work there now.
          const there = await unless(['ENOENT'], `looking at ${path}`, () => lstat(path))
          if (there?.ino === ino) await attempt(`removing ${path}`, () => rm(path, { force: true }))
        } finally {
          await stop()
        }
      }
    } catch (error) {
      await stop()
      throw error
    }
  } finally {
    await attempt(`removing ${aside}`, () => rm(aside, { recursive: true, force: true }))
  }
}

/** Makes what is linked to its place; resolves with what ends listening. */
async function listenFirst(server: Server, aside: string, first: string): Promise<() => Promise<void>> {
  const socket = await attempt(`listening at ${first}`, async () => socketPath(aside, 's'))
  if (!socket) return await listenElsewhere(server, first)
  const stop = async () => {
    // The system removes the file by this path, which has to lead to the same directory until then.
    server.close()
    socket[Symbol.dispose]()
  }
  try {
    await attempt(`listening at ${first}`, () => listening(server, socket))
    await attempt(`setting the rights of ${first}`, () => chmod(first, 0o600))
    return stop
  } catch (error) {
    await stop()
    throw error
  }
}

/**
 * Listens in a directory of the temporary one, and makes a file that says where. The name of the directory is random, so
 * that no other user can make it first.
 */
export async function listenElsewhere(server: Server, first: string): Promise<() => Promise<void>> {
  const base = await attempt(`looking at ${tmpdir()}`, () => realpath(tmpdir()))
  const folder = await attempt(`making a directory in ${base}`, () => mkdtemp(join(base, 'ospd-')))
  const stop = async () => {
    server.close()
    await removePrivate(folder)
  }
  try {
    const socket = socketPath(folder, 'control.sock')
    if (!socket) throw new OspError('internal', `the path ${folder} is too long for a socket; set a shorter TMPDIR`)
    await attempt(`looking at ${folder}`, () => checkPrivate(folder))
    await attempt(`listening at ${socket.path}`, () => listening(server, socket))
    await attempt(`setting the rights of ${socket.path}`, () => chmod(socket.path, 0o600))
    const text = pointer(socket.path)
    await attempt(`writing ${first}`, () => writeFile(first, text, { flag: 'wx', mode: 0o600 }))
    return stop
  } catch (error) {
    await stop()
    throw error
  }
}

async function listening(server: Server, { path }: { readonly path: string }): Promise<void> {
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

/** A program that is still removing a dead socket after so long has died itself. */
const removingMs = 10_000

/**
 * Removes a socket that nobody listens at. Resolves with `free` when the place is free, `alive` if somebody listens there,
 * and `busy` while another program removes it.
 *
 * Who removes it holds a second link to it, whose name no two programs can make: so none takes away what another has put
 * in its place since. A dead socket never comes to life, so what is dead under that second name stays so.
 */
async function removeDead(path: string): Promise<'free' | 'alive' | 'busy'> {
  const there = await look(path)
  if (!there) return 'free'
  if (await isAlive(path)) return 'alive'
  const elsewhere = there.isFile() ? await pointedAt(path) : undefined
  const claim = join(dirname(path), `control.${there.ino}`)
  if (!(await claimed(path, claim))) return 'busy'
  try {
    const own = await look(claim)
    if (own?.ino !== there.ino || (await isAlive(claim))) return 'busy'
    if (elsewhere !== undefined) await removePrivate(dirname(elsewhere))
    await attempt(`removing ${path}`, () => rm(path, { force: true }))
    return 'free'
  } finally {
    await attempt(`removing ${claim}`, () => rm(claim, { force: true }))
  }
}

async function claimed(path: string, claim: string): Promise<boolean> {
  const made = await unless(['EEXIST', 'ENOENT'], `making ${claim}`, () => link(path, claim).then(() => true))
  if (made) return true
  const there = await look(claim)
  // Making a link counts as a change of what it leads to.
  if (there && Date.now() - there.ctimeMs > removingMs)
    await attempt(`removing ${claim}`, () => rm(claim, { force: true }))
  return false
}

const look = (path: string) => unless(['ENOENT'], `looking at ${path}`, () => lstat(path))

/** Whether a program listens there: everything but a refusal means so. Rejects if no socket is there. */
async function isAlive(path: string): Promise<boolean> {
  using at = await unless(['ENOENT'], `looking at ${path}`, () => socketAt(path))
  if (!at) return false
  return await new Promise((resolve) => {
    const socket = connect({ path: at.path })
    socket.on('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(errnoOf(error) ?? '')))
    socket.on('connect', () => {
      resolve(true)
      socket.destroy()
    })
  })
}
