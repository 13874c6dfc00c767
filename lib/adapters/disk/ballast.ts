import { randomBytes } from 'node:crypto'
import { rm, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { KiB, MiB } from '../../limits.ts'
import { isFull, unless } from './faults.ts'
import { writeOwnFile } from './rights.ts'

/** The size of the ballast: a share of the disk, within a minimum and a maximum. */
const part = 1 / 64
const leastBytes = 64 * KiB
const mostBytes = MiB

/** The ballast is created only if this multiple of its size is free. */
const plenty = 8

/**
 * A file that only occupies space. It is removed when another program has filled the disk, so that the journals have
 * space for records that free more: the removal of delivered messages and of cancelled uploads.
 */
export class Ballast {
  readonly #path: string
  #isThere = false
  #making: Promise<void> | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Creates the ballast if it is missing and the disk has plenty of space. The next call retries a failure. */
  async make(): Promise<void> {
    if (this.#isThere) return
    this.#making ??= this.#make().finally(() => {
      this.#making = undefined
    })
    await this.#making
  }

  /** Does `work`. If the disk is full, removes the ballast and does `work` once more. */
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
      // A file system that compresses would store zeros without using space.
      await writeOwnFile(this.#path, randomBytes(bytes))
      this.#isThere = true
    } catch {
      await rm(this.#path, { force: true }).catch(() => {})
    }
  }

  /** Removes the ballast. Resolves with whether it existed. */
  async #release(): Promise<boolean> {
    await this.#making
    this.#isThere = false
    const remove = () => rm(this.#path).then(() => true)
    return (await unless(['ENOENT'], `removing ${this.#path}`, remove)) ?? false
  }
}
