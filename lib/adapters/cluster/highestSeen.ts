import type { SeenState } from './steps.ts'

/** The latest state of the shared store that a server has seen. */
export class HighestSeen implements SeenState {
  #server = 0
  stored = 0
  presenceVersion = 0
  seq = 0
  token = 0
  linkBlock = 0

  /** Forgets what belongs to the former number of the server. */
  begin(server: number): void {
    this.#server = server
    this.stored = 0
    this.presenceVersion = 0
  }

  /** Adds a result of a step that the server ran under this number. */
  addOf(server: number, { stored = 0, presenceVersion = 0 }: Partial<SeenState>): void {
    if (server !== this.#server) return
    this.stored = Math.max(this.stored, stored)
    this.presenceVersion = Math.max(this.presenceVersion, presenceVersion)
  }

  add({ seq = 0, token = 0, linkBlock = 0 }: Partial<SeenState>): void {
    this.seq = Math.max(this.seq, seq)
    this.token = Math.max(this.token, token)
    this.linkBlock = Math.max(this.linkBlock, linkBlock)
  }
}
