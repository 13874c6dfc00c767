import { join, resolve } from 'node:path'
import { checkArgument, kinds } from '../../options.ts'
import type { ClientState } from '../../ports/clientState.ts'
import { file } from '../node/fileSource.ts'
import { ReceiptFile } from './receiptFile.ts'
import { discardSpooled } from './spool.ts'
import { TaskFile } from './taskFile.ts'

/**
 * A client's state in a directory, for one user at one server; it is made when something is first kept. One process at a
 * time uses it for messages, and one for uploads.
 */
export function stateDirectory(path: string): Required<ClientState> {
  checkArgument('stateDirectory', 'the path', kinds.path, path)
  const directory = resolve(path)
  return {
    receipts: new ReceiptFile(join(directory, 'receipts')),
    tasks: new TaskFile(join(directory, 'tasks')),
    reopen: (ref) => file(ref),
    discard: (ref) => discardSpooled(directory, ref),
  }
}
