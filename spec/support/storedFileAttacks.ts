import type { Attack } from './attack.ts'
import { byLinks, flooding, mallory, ofNothing, type Run, start, users } from './attackSteps.ts'
import { type Make, same } from './bareLink.ts'
import { bytesOf } from './rawStream.ts'

/** Stores `files` empty files, then sends requests that are made from the version of the first. */
const withFiles = (files: number, make: (version: string) => Make): Run =>
  byLinks([mallory], 1, async (link, signal) => {
    const upload = (at: number) =>
      ({ ...start(`f/${at}`, 0), event: 'PutFileReq', fileDigest: ofNothing, content: [] }) as const
    for (let at = 0; at < files; at++) await link.reply(same(upload(at)))
    const found = (await link.reply(same({ event: 'StatFileReq', fileName: 'f/0', flags: 0 })))?.message()
    if (found?.event === 'StatFileAck') await link.flood(make(found.version), signal)
  })

/** Attacks by one user with requests about stored files. */
export const storedFileAttacks: readonly Attack[] = [
  {
    ...users,
    name: 'STAT_FILEs of one file',
    run: withFiles(1, () => same({ event: 'StatFileReq', fileName: 'f/0', flags: 0 })),
  },
  {
    ...users,
    name: 'STAT_FILEs of a missing file',
    run: flooding(same({ event: 'StatFileReq', fileName: 'missing', flags: 1 })),
  },
  {
    ...users,
    // Each stored file has a line.
    bounds: { lines: 2_000 },
    name: 'LIST_FILES of a thousand files',
    run: withFiles(1_000, () => same({ event: 'ListFilesReq', prefix: '', after: '', most: 0 })),
  },
  {
    ...users,
    name: 'READ_FILEs of one file',
    run: withFiles(1, (version) => same({ event: 'ReadFileReq', fileName: 'f/0', version, offset: 0, length: 9 })),
  },
  {
    ...users,
    name: 'RENAME_FILEs of one file',
    run: withFiles(1, (version) => (seq) => {
      const [fileName, newName] = seq % 2 ? ['f/0', 'f/x'] : ['f/x', 'f/0']
      return bytesOf({ event: 'RenameFileReq', fileName, newName, version, flags: 0 }, seq)
    }),
  },
  {
    ...users,
    name: 'REMOVE_FILEs of a missing file',
    run: flooding(same({ event: 'RemoveFileReq', fileName: 'missing', version: '' })),
  },
]
