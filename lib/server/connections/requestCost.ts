import { partCount } from '../../names.ts'
import type { RequestName, WireMessage } from '../../wire/message.ts'

/** Cost of each file that is sent in one request. */
const putUs = 15

/**
 * Minimum CPU time of a request in microseconds, on the single thread of the server. Measured on a machine of 2026 by
 * `npm run bench:attack` (CPU time of the server divided by replies) and rounded down, so that the machine and not these
 * figures limits an honest user who is alone.
 */
const requestUs: { readonly [K in RequestName]?: number } = {
  StartPostFileReq: 40,
  ContinuePostFileReq: 15,
  PutFileReq: putUs,
  CancelFileReq: 100,
  FileMd5Req: 60,
  PauseFileReq: 60,
  PostFileReq: 2,
  PostMsgReq: 5,
  RegistReq: 5,
  ListMsgReq: 50,
  ReturnMsgReq: 60,
  RemoveMsgReq: 60,
  ListDevicesReq: 50,
  RemoveDeviceReq: 100,
  ListFilesReq: 50,
  StatFileReq: 10,
  ReadFileReq: 80,
  RenameFileReq: 200,
  ListReq: 1,
}

/** Cost of any frame: reading and checking it, and the reply if it has one. */
const frameUs = 3
const kibibyteUs = 0.5
/** Cost of each folder in a file name, and of each recipient. */
const folderUs = 12
const recipientUs = 3
/** Cost of each file in a list, and of each entry of a folder that was read for it. */
const listedUs = 15
const lookedUs = 1
/** Cost of each message of a request. */
const messageUs = 8
/** Cost of each message that is counted for a device. */
const countedUs = 0.05
/** Cost of each entry of the presence list that is sent to the client. */
const memberUs = 0.01
/** Cost of a refusal. Each request is charged with it until the server carries the request out. */
const refusalUs = 20
/** Cost of a notification that is encoded once for many links, for each of them. Most of it is the system call. */
const noticeUs = 20
/** Cost of a link, from HELLO to its end. */
const linkUs = 200

/** The costs in milliseconds. */
export const costs = {
  refusal: refusalUs / 1_000,
  link: linkUs / 1_000,
  notice: noticeUs / 1_000,

  /** Returns the cost of a frame with `bytes` bytes. */
  frame: (bytes: number): number => (frameUs + (bytes / 1_024) * kibibyteUs) / 1_000,

  /** Returns the cost of content that was read for the client. */
  read: (bytes: number): number => ((bytes / 1_024) * kibibyteUs) / 1_000,

  /** Returns the cost of a list of files, for which `looked` entries of folders were read. */
  listed: (files: number, looked: number): number => (files * listedUs + looked * lookedUs) / 1_000,

  /** Returns the cost of a list of messages with `bytes` of content. */
  listedMessages: (messages: number, bytes: number): number =>
    (messages * messageUs + (bytes / 1_024) * kibibyteUs) / 1_000,

  /** Returns the cost of messages that were counted for the devices of a user. */
  counted: (messages: number): number => (messages * countedUs) / 1_000,

  /** Returns the cost of a request and its refusal, without its frame. `members` is the size of the presence list. */
  request(message: WireMessage<RequestName>, members: number): number {
    let us = (requestUs[message.event] ?? 0) + refusalUs
    if ('fileName' in message) us += folderUs * foldersOf(message.fileName)
    if ('newName' in message) us += folderUs * foldersOf(message.newName)
    if (message.event === 'PostMsgReq')
      for (const { recipients } of message.messages) us += messageUs + recipientUs * recipients.length
    if (message.event === 'PutFilesReq')
      for (const { fileName } of message.files) us += putUs + folderUs * foldersOf(fileName)
    if ('mailboxSeqs' in message) us += messageUs * message.mailboxSeqs.length
    if (message.event === 'RegistReq' || message.event === 'ListReq') us += memberUs * members
    return us / 1_000
  },
}

const foldersOf = (name: string) => partCount(name) - 1
