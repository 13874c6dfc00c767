import type { UploadHook } from '../../lib/server/files/uploadHook.ts'
import type { SimulatedProcess } from './process.ts'

/** Maximum time of a decision. */
const mostMs = 50

/** The decisions of `onUpload` in a world, which depend only on the name and the size of an upload. */
export class SimulatedHook {
  /** Whether the server has the hook. */
  isOn = false

  /** Returns the name under which a file is stored. */
  storedNameOf(name: string): string {
    return this.isOn && /[14]$/u.test(name) ? `in/${name}` : name
  }

  /** Returns whether a file of this size is refused. */
  refuses(bytes: number): boolean {
    return this.isOn && bytes % 4 === 3
  }

  /** The hook as a process of the server calls it. */
  of(process: SimulatedProcess): UploadHook {
    return ({ name, size }) =>
      process.effect(mostMs, 'time to decide about an upload', () => {
        if (this.refuses(size)) return { refuse: 'it has this size' }
        return { name: this.storedNameOf(name), metadata: { sentAs: name } }
      })
  }
}
