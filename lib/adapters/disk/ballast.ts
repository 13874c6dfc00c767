import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { rm, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { KiB, MiB } from '../../limits.ts'
import { isFull, unless } from './faults.ts'
import { makeOwnFile } from './ownFile.ts'

/** This part of the disk, within these bounds. */
const part = 1 / 64
const leastBytes = 64 * KiB
const mostBytes = MiB

/** It is made if so many times its size is free. */
const plenty = 8

/**
 * A file that does nothing but take room. When another program has filled the disk it is removed, so that the journals have
 * room for what frees more: the removal of messages that were delivered, and of uploads that were cancelled.
 */
export class Ballast {
  readonly #path: string
  #isThere = false
  #making: Promise<void> | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Makes it, if it is not there and the disk has plenty of room. What fails is tried the next time. */
  async make(): Promise<void> {
    if (this.#isThere) return
    this.#making ??= this.#make().finally(() => {
      this.#making = undefined
    })
    await this.#making
  }

  /** Does it, and where that finds no room once more without the ballast. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (!isFull(error) || !(await this.#release())) throw error
      return await work()
    }
  }

  async #make(): Promise<void> {
    try {
      const { bavail, bsize, blocks } = await statfs(dirname(this.#path))
      const bytes = Math.floor(Math.min(mostBytes, Math.max(leastBytes, blocks * bsize * part)))
      if (bavail * bsize < plenty * bytes) return
      const handle = await makeOwnFile(this.#path, constants.O_WRONLY)
      try {
        // Zeros would take no room where a file system compresses them.
        await handle.writeFile(randomBytes(bytes))
      } finally {
        await handle.close()
      }
      this.#isThere = true
    } catch {
      await rm(this.#path, { force: true }).catch(() => {})
    }
  }

  /** Resolves with whether there was one. */
  async #release(): Promise<boolean> {
    await this.#making
    this.#isThere = false
    const removed = await unless(['ENOENT'], `removing ${this.#path}`, async () => {
      await rm(this.#path)
      return true
    })
    return removed ?? false
  }
}
