import { checkMessageParts } from '../../core/messageLimits.ts'
import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import type { WireMessage } from '../../wire/message.ts'
import { decodeBody, serverPartsOf } from '../../wire/messageBody.ts'
import type { PostedMessage } from './deliveryService.ts'

/** A posted message after the checks that need no mailbox. */
export interface CheckedPost extends PostedMessage {
  /** The recipients as the client named them; a name can occur several times. */
  readonly named: readonly string[]
  readonly refusal: OspError | undefined
  /** The recipients that are known users and have never logged in. */
  readonly unseen: ReadonlySet<string>
}

type Verdict = Awaited<ReturnType<Authenticator['knows']>>

/** The checks of posted messages that need no mailbox. */
export class PostChecker {
  readonly #mostRecipients: number
  readonly #authenticator: Authenticator
  readonly #isOnline: (user: string) => boolean

  constructor({ recipients }: Limits, authenticator: Authenticator, isOnline: (user: string) => boolean) {
    this.#mostRecipients = recipients
    this.#authenticator = authenticator
    this.#isOnline = isOnline
  }

  /** Resolves with the recipients that have never logged in. Rejects if a recipient does not exist, or if there are too many. */
  async checkRecipients(recipients: readonly string[]): Promise<readonly string[]> {
    const verdicts = await this.#verdictsOf(new Set(recipients))
    const refusal = this.#refusalOf(recipients, undefined, verdicts)
    if (refusal) throw refusal
    return recipients.filter((name) => verdicts.get(name) === 'unseen')
  }

  /** Returns the messages with their refusals. Rejects with OspError `malformed` if a message has no recipient. */
  async check(sender: string, messages: WireMessage<'PostMsgReq'>['messages']): Promise<readonly CheckedPost[]> {
    const names = new Set<string>()
    for (const { recipients } of messages) {
      if (recipients.length === 0) throw new OspError('malformed', 'a message needs a recipient')
      for (const name of recipients.slice(0, this.#mostRecipients)) names.add(name)
    }
    const verdicts = await this.#verdictsOf(names)
    return messages.map(({ messageId: id, recipients: named, body: content }) => {
      const recipients = named.length === 1 ? named : [...new Set(named)]
      const { fault, timeToLive, receipt } = checkedBody(content)
      const refusal = this.#refusalOf(recipients, fault, verdicts)
      const isUnseen = (name: string) => verdicts.get(name) === 'unseen'
      const unseen = recipients.some(isUnseen) ? new Set(recipients.filter(isUnseen)) : noUsers
      return { sender, id, content, recipients, receipt, timeToLive, named, refusal, unseen }
    })
  }

  /** Resolves with whether each of these users exists; `undefined` for an invalid name. */
  async #verdictsOf(names: ReadonlySet<string>): Promise<ReadonlyMap<string, Verdict | undefined>> {
    const verdicts = new Map<string, Verdict | undefined>()
    const lookUp = async (name: string) => {
      verdicts.set(name, isUserName(name) ? await this.#authenticator.knows(name) : undefined)
    }
    const unsure: string[] = []
    for (const name of names) {
      // A user that listens has been authenticated.
      if (this.#isOnline(name)) verdicts.set(name, true)
      else unsure.push(name)
    }
    if (unsure.length > 0) await Promise.all(unsure.map(lookUp))
    return verdicts
  }

  #refusalOf(
    recipients: readonly string[],
    fault: OspError | undefined,
    verdicts: ReadonlyMap<string, Verdict | undefined>,
  ): OspError | undefined {
    const most = this.#mostRecipients
    if (recipients.length > most) {
      const text = `a message has at most ${most} recipients; this one has ${recipients.length}`
      return new OspError('too-many-recipients', text)
    }
    const verdictOf = (name: string) => verdicts.get(name)
    if (fault === undefined && recipients.every(verdictOf)) return undefined
    const bad = recipients.filter((name) => verdictOf(name) === undefined)
    if (bad.length > 0) return new OspError('bad-name', 'a recipient is not a valid user name', { recipients: bad })
    if (fault) return fault
    const unknown = recipients.filter((name) => verdictOf(name) === false)
    return unknown.length > 0 ? new OspError('unknown-user', undefined, { recipients: unknown }) : undefined
  }
}

/**
 * Returns the time to live of a body and whether it asks for receipts. Returns an error if the body is too large, or has parts that a
 * client must not send.
 */
function checkedBody(body: Uint8Array): Pick<PostedMessage, 'timeToLive' | 'receipt'> & { readonly fault?: OspError } {
  try {
    const { attributes, content } = decodeBody(body)
    checkMessageParts(attributes, content)
    const [part] = serverPartsOf(attributes)
    if (part) return { fault: new OspError('malformed', `only a server may send the part ${part} of a message`) }
    return { timeToLive: attributes.timeToLive, receipt: attributes.receiptWanted }
  } catch (error) {
    return { fault: OspError.from(error) }
  }
}

const noUsers: ReadonlySet<string> = new Set()
