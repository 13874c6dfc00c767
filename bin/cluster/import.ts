import { type ImportFault, type ImportOutcome, type ImportTotals, importIntoCluster } from 'ospd/postgres'
import { checkDirectory } from '../common/files.ts'
import { errorLine, results } from '../common/output.ts'
import { printable } from '../common/text.ts'
import { formatSize } from '../common/units.ts'
import { exitCodes } from '../common/usage.ts'

/** The minimum time between two progress lines. */
const lineMs = 2_000

/** `ospd cluster import`: copies the data of a server into a cluster. */
export async function importServer(database: string, files: string, data: string): Promise<number> {
  checkDirectory('--data', data, 'exists')
  const outcome = await importIntoCluster({ database, files, data, found, ...(process.stderr.isTTY && progress()) })
  const { finishedAt } = outcome
  if (finishedAt !== undefined) {
    const finished = new Date(finishedAt).toISOString()
    const line = `${printable(data)} was already imported (${finished}); nothing was changed`
    await results.printed({ event: 'already-imported', data, finished }, line)
    return exitCodes.done
  }
  const { users, files: stored, linked, copied, bytes, uploads, messages, ids } = outcome
  const totals = { users, files: stored, linked, copied, bytes, uploads, messages, ids }
  await results.printed({ event: 'imported', data, ...totals }, `imported ${printable(data)}: ${textOf(outcome)}`)
  return exitCodes.done
}

function found({ kind, path: file, text }: ImportFault): void {
  if (results.json)
    results.event(kind === 'skipped' ? { event: 'skipped', file, text } : { event: 'damaged', file, text })
  else errorLine(`ospd: ${kind === 'skipped' ? 'not imported' : 'damaged'}: ${printable(file)}: ${printable(text)}`)
}

/** Returns a listener that prints the totals periodically. */
function progress() {
  let printedMs = Date.now()
  return {
    progress(totals: ImportTotals) {
      if (Date.now() - printedMs < lineMs) return
      printedMs = Date.now()
      errorLine(`ospd: imported so far: ${textOf(totals)}`)
    },
  }
}

function textOf({ users, files, bytes, uploads, messages, ids }: ImportTotals | ImportOutcome): string {
  return [
    counted(users, 'user'),
    `${counted(files, 'file')} (${formatSize(bytes)})`,
    counted(uploads, 'unfinished upload'),
    counted(messages, 'waiting message'),
    counted(ids, 'message id'),
  ].join(', ')
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`
