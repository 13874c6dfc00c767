import type { Message, RequestName } from '../../wire/message.ts'

/**
 * What a request costs the server's one thread at least, in microseconds, measured on a machine of 2026 by
 * `npm run bench:attack` (CPU time of the server divided by answers) and rounded down: an honest user who is alone is limited
 * by the machine and not by these figures.
 */
const requestUs: { readonly [K in RequestName]?: number } = {
  StartPostFileReq: 40,
  ContinuePostFileReq: 15,
  CancelFileReq: 100,
  FileMd5Req: 60,
  PauseFileReq: 60,
  PostFileReq: 2,
  PostMsgReq: 15,
  RegistReq: 5,
  ListReq: 1,
}

/** Of any frame, whatever becomes of it: reading, checking, and the reply if it has one. */
const frameUs = 3
const kibibyteUs = 0.5
/** Of a folder in a file name, and of a recipient. */
const folderUs = 12
const recipientUs = 3
/** Of an entry in the online list that is sent to the client. */
const memberUs = 0.01
/** Of a refusal: each request is charged with it until it is carried out. */
const refusalUs = 20
/** Of a link, from HELLO to its end. */
const linkUs = 200

const folders = (name: string) => name.split('/').length - 1

/** Costs in ms. */
export const costs = {
  refusal: refusalUs / 1_000,
  link: linkUs / 1_000,

  /** Of any frame of so many bytes. */
  frame: (bytes: number): number => (frameUs + (bytes / 1_024) * kibibyteUs) / 1_000,

  /** Of a request, beyond its frame, if it is refused; `members` are in the online list. */
  request(message: Message<RequestName>, members: number): number {
    const us = (requestUs[message.event] ?? 0) + refusalUs
    switch (message.event) {
      case 'StartPostFileReq':
      case 'ContinuePostFileReq':
      case 'CancelFileReq':
        return (us + folderUs * folders(message.fileName)) / 1_000
      case 'PostMsgReq':
        return (us + recipientUs * message.recipients.length) / 1_000
      case 'RegistReq':
      case 'ListReq':
        return (us + memberUs * members) / 1_000
      default:
        return us / 1_000
    }
  },
}
