import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import { checkStoredName } from '../../names.ts'
import { checkArgument, checkOptions, kinds } from '../../options.ts'
import type { LocalFiles } from '../../ports/localFiles.ts'
import type { Log } from '../../ports/log.ts'
import { deferred } from '../../runtime/deferred.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import { onAbort } from '../../runtime/wait.ts'
import { renameFlags } from '../../wire/protocol.ts'
import { protocolViolation } from '../connection/session.ts'
import * as kindsOf from '../options.ts'
import { noFiles } from '../uploads/uploadSource.ts'
import { ClientDownload, type Download } from './download.ts'
import { DownloadJob } from './downloadJob.ts'
import { type FileInfo, type FileReference, FileRequests, type FileRequestsOptions, fileInfo } from './fileRequests.ts'
import type {
  DownloadOptions,
  Files,
  ListFilesOptions,
  RemoveFileOptions,
  RenameFileOptions,
  StatFileOptions,
} from './files.ts'

export interface FilesClientOptions extends FileRequestsOptions {
  readonly localFiles: LocalFiles | undefined
  /** The number of downloads that write to a target at once. */
  readonly atOnce: number
  readonly listenerLog: Log | undefined
}

/** The stored files of a user, as a client sees them. */
export class FilesClient implements Files {
  readonly #options: FilesClientOptions
  readonly #requests: FileRequests
  readonly #closing = new AbortController()
  readonly #running = new PendingWork()
  /** The downloads that wait for a slot. */
  readonly #waiting = new Queue<{ start: (() => void) | undefined }>()
  #active = 0

  constructor(options: FilesClientOptions) {
    this.#options = options
    this.#requests = new FileRequests(options)
  }

  /** Begins a new link, with the round trip of HELLO. */
  opened(roundTripMs: number): void {
    const { pace, platform } = this.#options
    pace.reset(platform.clock.now(), roundTripMs)
  }

  async *list(options: ListFilesOptions = {}): AsyncIterableIterator<FileInfo> {
    checkOptions('files.list', kindsOf.listOptions, options)
    const { prefix = '' } = options
    const signal = this.#signal(options.signal)
    for (let after = ''; ; ) {
      const request = { event: 'ListFilesReq', prefix: prefix.normalize('NFC'), after, most: 0 } as const
      const { files, more } = await this.#requests.ask(request, signal)
      for (const file of files) {
        after = file.fileName
        yield fileInfo(file)
      }
      if (more === 0) return
      if (files.length === 0) throw protocolViolation('it sent an empty page of files, and announced more')
    }
  }

  async stat(name: string, options: StatFileOptions = {}): Promise<FileInfo> {
    checkOptions('files.stat', kindsOf.statOptions, options)
    return await this.#requests.stat(named('files.stat', name), options.digest ?? false, this.#signal(options.signal))
  }

  async remove(name: string, options: RemoveFileOptions = {}): Promise<boolean> {
    checkOptions('files.remove', kindsOf.removeOptions, options)
    const { version = '' } = options
    const request = { event: 'RemoveFileReq', fileName: named('files.remove', name), version } as const
    const { removed } = await this.#requests.ask(request, this.#signal(options.signal))
    return removed !== 0
  }

  async rename(name: string, newName: string, options: RenameFileOptions = {}): Promise<boolean> {
    checkOptions('files.rename', kindsOf.renameOptions, options)
    const fileName = named('files.rename', name)
    const target = named('files.rename', newName, 'the new name')
    const signal = this.#signal(options.signal)
    const version = options.version ?? (await this.#requests.stat(fileName, false, signal)).version
    const flags = options.replace ? renameFlags.replace : 0
    const request = { event: 'RenameFileReq', fileName, newName: target, version, flags } as const
    const { replaced } = await this.#requests.ask(request, signal)
    return replaced !== 0
  }

  download(file: string | FileInfo | FileReference, options: DownloadOptions = {}): Download {
    checkOptions('files.download', kindsOf.downloadOptions, options)
    const { name, known, reference } = wanted(file)
    const { to, overwrite = false, offset = 0, version } = options
    const { localFiles } = this.#options
    const isPath = typeof to === 'string' || to instanceof URL
    if (to === undefined && overwrite) throw new OspError('usage', 'files.download: overwrite requires a path')
    if (to !== undefined && offset > 0) {
      throw new OspError(
        'usage',
        'files.download: offset requires a download without a target; with one, the download continues by itself',
      )
    }
    if (isPath && !localFiles) throw noFiles('a target')
    const leaving = new AbortController()
    const signal = AbortSignal.any([this.#signal(options.signal), leaving.signal])
    let isTaken = to !== undefined
    const download = new ClientDownload(
      name,
      () => {
        if (isTaken)
          throw new OspError(
            'usage',
            'the content of a download can be read only once, and only if the download has no target',
          )
        isTaken = true
        return job.content(offset)
      },
      () => leaving.abort(),
      this.#options.listenerLog,
    )
    const job = new DownloadJob({ requests: this.#requests, download, known, reference, version, signal })
    if (to !== undefined) {
      const target = async () => (isPath ? await (localFiles as LocalFiles).target(to, { overwrite }) : to)
      this.#running.track(this.#inTurn(() => job.save(target), signal))
    } else {
      const aborted = onAbort(signal, () => download.fail())
      const ended = () => aborted[Symbol.dispose]()
      download.done.then(ended, ended)
    }
    return download
  }

  /** Ends all downloads. Their targets keep what was written. */
  async close(): Promise<void> {
    this.#closing.abort(new OspError('closed', 'the client was closed'))
    await this.#running.settled()
  }

  /** Runs `work` when one of the slots is free, or when `signal` aborts. */
  async #inTurn(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const hasSlot = await this.#slot(signal)
    await work()
    if (!hasSlot) return
    // The slot goes to the next download, if one waits.
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      if (next.start) return next.start()
    }
    this.#active--
  }

  /** Resolves with true when a slot is free, or with false when `signal` aborts first. */
  async #slot(signal: AbortSignal): Promise<boolean> {
    if (this.#active < this.#options.atOnce) {
      this.#active++
      return true
    }
    const slot = deferred<boolean>()
    const entry: { start: (() => void) | undefined } = { start: () => slot.resolve(true) }
    this.#waiting.push(entry)
    using _ = onAbort(signal, () => {
      entry.start = undefined
      slot.resolve(false)
    })
    return await slot.promise
  }

  /** Returns a signal that aborts when the client is closed, or when `signal` aborts. */
  #signal(signal: AbortSignal | undefined): AbortSignal {
    return AbortSignal.any(signal ? [this.#closing.signal, signal] : [this.#closing.signal])
  }
}

/** Returns the name of a file to download, and its description or reference. Throws OspError `usage` or `bad-name`. */
function wanted(file: string | FileInfo | FileReference) {
  if (typeof file === 'string') return { name: named('files.download', file), known: undefined, reference: undefined }
  checkArgument('files.download', 'the file', kindsOf.describedFile, file)
  const name = named('files.download', file.name)
  return 'proof' in file ? { name, known: undefined, reference: file } : { name, known: file, reference: undefined }
}

/** Returns a file name in the Unicode form NFC. Throws OspError `usage` or `bad-name`. */
function named(where: string, name: string, what = 'the name'): string {
  checkArgument(where, what, kinds.text, name)
  return checkStoredName(name.normalize('NFC'))
}
