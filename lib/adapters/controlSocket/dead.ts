import { link, lstat, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { attempt, errnoOf, unless } from '../disk/faults.ts'
import { pointedAt, removePrivate, socketAt } from './place.ts'

/** A program that is still removing a dead socket after so long has died itself. */
const removingMs = 10_000

/**
 * Removes a socket that nobody listens at. Resolves with `free` when the place is free, `alive` if somebody listens there,
 * and `busy` while another program removes it.
 *
 * Who removes it holds a second link to it, whose name no two programs can make: so none takes away what another has put
 * in its place since. A dead socket never comes to life, so what is dead under that second name stays so.
 */
export async function removeDead(path: string): Promise<'free' | 'alive' | 'busy'> {
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
