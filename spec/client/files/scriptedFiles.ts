import { createHash } from 'node:crypto'
import type { ErrorCode } from '../../../lib/errors.ts'
import type { RequestName, WireMessage } from '../../../lib/wire/message.ts'
import { digestNumbers, features } from '../../../lib/wire/protocol.ts'
import {
  type Act,
  type HostileServer,
  hostileServer,
  nack,
  type ReceivedRequest,
  welcome,
} from '../../support/hostileServer.ts'

/** A stored file of a scripted server. */
export interface ScriptedFile {
  readonly content: Uint8Array
  readonly version: string
  readonly modifiedAt?: number
}

/** The most bytes that the scripted server returns at once. */
export const chunkBytes = 40_000

type Wire = Omit<WireMessage<'StatFileAck'>, 'event'>

export function wireFile(fileName: string, { content, version, modifiedAt = 1_000 }: ScriptedFile): Wire {
  return {
    fileName,
    size: content.length,
    modifiedAt,
    storedAt: 2_000,
    version,
    digest: digestNumbers.sha256,
    fileDigest: new Uint8Array(createHash('sha256').update(content).digest()),
    metadata: [{ key: 'contentType', value: 'text/plain' }],
  }
}

/** Refuses a request with this code. */
export function refuse({ message, reply }: ReceivedRequest, code: ErrorCode): undefined {
  reply(nack(message.event.replace('Req', 'Nack') as 'ReadFileNack', code))
}

const answers: { readonly [K in RequestName]?: (files: Map<string, ScriptedFile>, heard: ReceivedRequest) => void } = {
  ListFilesReq(files, { message, reply }) {
    const { prefix, after } = message as WireMessage<'ListFilesReq'>
    const names = [...files.keys()].filter((name) => name.startsWith(prefix) && name > after).sort()
    const page = names.slice(0, 2).map((name) => wireFile(name, files.get(name) as ScriptedFile))
    reply({ event: 'ListFilesAck', files: page, more: names.length > 2 ? 1 : 0 })
  },
  StatFileReq(files, heard) {
    const { fileName } = heard.message as WireMessage<'StatFileReq'>
    const file = files.get(fileName)
    if (file) heard.reply({ event: 'StatFileAck', ...wireFile(fileName, file) })
    else refuse(heard, 'no-such-file')
  },
  RemoveFileReq(files, { message, reply }) {
    const removed = files.delete((message as WireMessage<'RemoveFileReq'>).fileName)
    reply({ event: 'RemoveFileAck', removed: removed ? 1 : 0 })
  },
  RenameFileReq(files, heard) {
    const { fileName, newName, version } = heard.message as WireMessage<'RenameFileReq'>
    const file = files.get(fileName)
    if (file?.version !== version) return refuse(heard, 'version-changed')
    files.delete(fileName)
    files.set(newName, file)
    heard.reply({ event: 'RenameFileAck', replaced: 0 })
  },
  ReadFileReq(files, heard) {
    const { fileName, version, offset, length } = heard.message as WireMessage<'ReadFileReq'>
    const file = files.get(fileName)
    if (!file) return refuse(heard, 'no-such-file')
    if (file.version !== version) return refuse(heard, 'version-changed')
    const end = offset + Math.min(length, chunkBytes)
    heard.reply({ event: 'ReadFileAck', offset, content: [file.content.subarray(offset, end)] })
  },
}

/** A server of these files on loopback. `act` answers a request in its place unless it returns true. */
export function scriptedFiles(files: Map<string, ScriptedFile>, act: Act = () => true): Promise<HostileServer> {
  return hostileServer((heard) => {
    const { event } = heard.message
    if (!act(heard)) return false
    if (event === 'HelloReq') heard.reply({ ...welcome, features: features.storedFiles })
    else if (event in answers) answers[event as RequestName]?.(files, heard)
    else return true
    return false
  })
}
