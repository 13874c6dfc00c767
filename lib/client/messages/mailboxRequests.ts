import { fixed } from '../../limits.ts'
import { checkDeviceName, isUserName } from '../../names.ts'
import { checkArgument, checkOptions, kinds } from '../../options.ts'
import type { Platform } from '../../ports/platform.ts'
import type { WireMessage } from '../../wire/message.ts'
import { listMsgFlags } from '../../wire/protocol.ts'
import { type ClientSession, protocolViolation } from '../connection/session.ts'
import { askUntilAnswered } from '../connection/untilAnswered.ts'
import { listMessagesOptions, seqs as seqsKind, signalOptions } from '../options.ts'
import { type Devices, deviceInfos } from './devices.ts'
import type { ListMessagesOptions, SignalOptions, WaitingMessage, WaitingMessages } from './message.ts'
import type { ReceiptMailbox } from './messageReceipts.ts'
import { decodedMessage, waitingMessage } from './receivedMessage.ts'

interface MailboxRequestsOptions {
  readonly platform: Platform
  readonly retryForMs: number
  /** Returns the session of the link for messages. Throws the final error of a client that has ended. */
  readonly session: () => ClientSession
}

/** Lists and changes the mailbox and the devices of the user. Each request can be repeated, so a lost link only delays it. */
export class MailboxRequests implements WaitingMessages {
  readonly #options: MailboxRequestsOptions

  constructor(options: MailboxRequestsOptions) {
    this.#options = options
  }

  async *list(options: ListMessagesOptions = {}): AsyncIterableIterator<WaitingMessage> {
    checkOptions('inbox.list', listMessagesOptions, options)
    const flags = options.setAside ? listMsgFlags.aside : 0
    for (let afterSeq = 0; ; ) {
      const { messages } = await this.#ask({ event: 'ListMsgReq', flags, afterSeq, most: 0 }, options)
      if (messages.length === 0) return
      for (const message of inOrder(messages, afterSeq)) {
        afterSeq = message.mailboxSeq
        yield waitingMessage(decodedMessage(message))
      }
    }
  }

  async return(seqs: readonly number[], options: SignalOptions = {}): Promise<void> {
    for (const mailboxSeqs of groupsOf('inbox.return', seqs, options))
      await this.#ask({ event: 'ReturnMsgReq', mailboxSeqs }, options)
  }

  async remove(seqs: readonly number[], options: SignalOptions = {}): Promise<void> {
    for (const mailboxSeqs of groupsOf('inbox.remove', seqs, options))
      await this.#ask({ event: 'RemoveMsgReq', mailboxSeqs }, options)
  }

  readonly devices: Devices = {
    list: async (options = {}) => {
      checkOptions('devices.list', signalOptions, options)
      return deviceInfos(await this.#ask({ event: 'ListDevicesReq' }, options))
    },
    remove: async (name, options = {}) => {
      checkArgument('devices.remove', 'the name', kinds.text, name)
      checkOptions('devices.remove', signalOptions, options)
      const device = name === '' ? name : checkDeviceName(name)
      return (await this.#ask({ event: 'RemoveDeviceReq', device }, options)).removed === 1
    },
  }

  /** The receipts of the user. */
  get receipts(): ReceiptMailbox {
    const flags = listMsgFlags.receipts
    return {
      page: async (afterSeq, signal) => {
        const { messages } = await this.#ask({ event: 'ListMsgReq', flags, afterSeq, most: 0 }, { signal })
        return inOrder(messages, afterSeq).map(decodedMessage)
      },
      remove: async (mailboxSeqs, signal) => {
        await this.#ask({ event: 'RemoveMsgReq', mailboxSeqs, flags }, { signal })
      },
    }
  }

  #ask<K extends AskedName>(message: WireMessage<K>, { signal }: SignalOptions) {
    const { platform, retryForMs, session } = this.#options
    const online = (aborted: AbortSignal) => session().online(aborted)
    return askUntilAnswered({ platform, retryForMs, online }, message, signal ?? new AbortController().signal)
  }
}

type AskedName = 'ListMsgReq' | 'ReturnMsgReq' | 'RemoveMsgReq' | 'ListDevicesReq' | 'RemoveDeviceReq'

type Listed = WireMessage<'ListMsgAck'>['messages']

/** Checks the order and the senders of listed messages. Throws OspError `malformed`. */
function inOrder(messages: Listed, afterSeq: number): Listed {
  let before = afterSeq
  for (const { mailboxSeq, sender } of messages) {
    if (mailboxSeq <= before) throw protocolViolation('it listed messages in the wrong order')
    if (!isUserName(sender)) throw protocolViolation('the sender of a message has an invalid name')
    before = mailboxSeq
  }
  return messages
}

/** Returns the seqs in the groups of requests. Throws OspError `usage` for invalid arguments. */
function groupsOf(where: string, seqs: readonly number[], options: SignalOptions): readonly (readonly number[])[] {
  checkArgument(where, 'the seqs', seqsKind, seqs)
  checkOptions(where, signalOptions, options)
  const groups: (readonly number[])[] = []
  for (let at = 0; at < seqs.length; at += fixed.batchMessages) groups.push(seqs.slice(at, at + fixed.batchMessages))
  return groups
}
