import type { Control } from '../../ports/control.ts'
import { makePath } from '../disk/directories.ts'
import { askControl, serveControl } from './controlSocket.ts'

/** What is in a directory, under the control of the program that serves its control socket. */
export function directoryControl(directory: string): Control {
  return {
    async serve(answering) {
      await makePath(directory)
      return await serveControl(directory, answering)
    },
    ask: (request, onAnswer, signal) => askControl(directory, request, onAnswer, { ...(signal && { signal }) }),
  }
}
