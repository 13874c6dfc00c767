import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { KiB } from '../../lib/limits.ts'

/** A file that occupies the free space of a disk until it is removed. */
export interface Ballast extends Disposable {
  /** Frees the space. */
  throwOff(): void
}

/** Fills the disk of `directory`, except for `bytes`. */
export function ballast(directory: string, bytes = 0): Ballast {
  const path = join(directory, 'ballast')
  const gap = join(directory, 'gap')
  if (bytes > 0) write(gap, new Uint8Array(bytes))
  fill(path)
  rmSync(gap, { force: true })
  const throwOff = () => rmSync(path, { force: true })
  return { throwOff, [Symbol.dispose]: throwOff }
}

function write(path: string, content: Uint8Array): void {
  const descriptor = openSync(path, 'w')
  writeSync(descriptor, content)
  closeSync(descriptor)
}

function fill(path: string): void {
  const descriptor = openSync(path, 'w')
  for (const piece of [256 * KiB, 4 * KiB].map((length) => new Uint8Array(length))) {
    try {
      while (writeSync(descriptor, piece) > 0);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
    }
  }
  closeSync(descriptor)
}
