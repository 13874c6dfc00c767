import { memoryState } from '../../lib/client/runningClient.ts'
import type { ClientState, StoredTask, TaskStore } from '../../lib/ports/clientState.ts'
import type { FileSource } from '../../lib/ports/source.ts'

/** A client state whose tasks outlive its clients, for sources in memory. */
export class MemoryTasks implements TaskStore {
  readonly kept = new Map<number, StoredTask>()
  readonly sources = new Map<string, FileSource>()
  /** Awaited before a change takes effect. */
  before: (change: StoredTask | number) => Promise<void> | void = () => {}

  /** Returns the state as a restarted program finds it. */
  get state(): ClientState {
    const reopen = (ref: string) => this.sources.get(ref) ?? { name: ref, ref, open: () => Promise.reject(new Error()) }
    return { ...memoryState(), tasks: this, reopen }
  }

  /** Makes a source that can be found again by its name. */
  source(source: FileSource): FileSource {
    const found = { ...source, ref: source.name }
    this.sources.set(source.name, found)
    return found
  }

  /** Returns `id name state` of each task. */
  get list(): string[] {
    return [...this.kept.values()].map(({ id, name, state }) => `${id} ${name} ${state}`)
  }

  async load(): Promise<readonly StoredTask[]> {
    return [...this.kept.values()].sort((a, b) => a.id - b.id)
  }

  async put(task: StoredTask): Promise<void> {
    await this.before(task)
    this.kept.set(task.id, task)
  }

  async remove(id: number): Promise<void> {
    await this.before(id)
    this.kept.delete(id)
  }
}
