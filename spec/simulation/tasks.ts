import { memoryState } from '../../lib/client/runningClient.ts'
import type { ClientState, StoredTask, TaskStore } from '../../lib/ports/clientState.ts'
import type { SimulatedFile } from './files.ts'
import type { SimulatedProcess } from './process.ts'

/** Maximum time for storing a change. */
const mostMs = 4

/** The durable list of tasks of one program, which outlives its processes. */
export class SimulatedTasks {
  readonly kept = new Map<number, StoredTask>()

  /** The list as a process sees it; `files` are those that it can find again. */
  stateOf(process: SimulatedProcess, files: readonly SimulatedFile[]): ClientState {
    let last: Promise<void> = Promise.resolve()
    const inTurn = (change: () => void) => {
      last = last.then(() => process.effect(mostMs, 'time to keep a task', change))
      return last
    }
    const tasks: TaskStore = {
      load: () => process.effect(mostMs, 'time to load tasks', () => [...this.kept.values()]),
      put: (task) => inTurn(() => this.kept.set(task.id, task)),
      remove: (id) => inTurn(() => this.kept.delete(id)),
    }
    const reopen = (ref: string) => {
      const file = files.find(({ name }) => name === ref)
      if (!file) throw new RangeError(`there is no file ${ref}`)
      return file.sourceFor(process)
    }
    return { ...memoryState(), tasks, reopen }
  }
}
