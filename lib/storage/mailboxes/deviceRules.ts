import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { ListedDevice, MailboxDevices, Settlement, UserDevice } from '../../ports/mailboxes.ts'
import type { JournalWriter } from '../journal/journalWriter.ts'
import { Device } from './devices.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import type { MessageSettler } from './messageSettler.ts'
import { writeDevice, writeForgotten, writeHandled, writeRejected } from './records.ts'

/** Messages that all devices have answered. */
export interface Answered {
  readonly handled: readonly number[]
  /** The reasons of the messages that a device has rejected, by seq. */
  readonly rejected: ReadonlyMap<number, string>
}

interface AnswerOptions {
  readonly isRejected: boolean
  readonly mayWait?: boolean | undefined
}

interface DeviceRulesOptions {
  readonly index: MailboxIndex
  readonly writer: JournalWriter
  readonly settler: MessageSettler
}

/** Returns the error of a device beyond the maximum number of devices of a user. */
export const tooManyDevices = (user: string, most: number): OspError =>
  new OspError(
    'too-many-devices',
    `${user} already has ${most} devices, the maximum; listen as one of them, or raise devicesPerUser at the server`,
  )

/** The rules of the devices of users (`MailboxDevices`). */
export class DeviceRules implements MailboxDevices {
  readonly #options: DeviceRulesOptions

  constructor(options: DeviceRulesOptions) {
    this.#options = options
  }

  async open(user: string, names: readonly string[], now: number, most: number): Promise<void> {
    const { index, writer } = this.#options
    const known = index.devices.of(user)
    const named = new Set([...(known?.keys() ?? []), ...names].filter((name) => name !== ''))
    if (named.size === 0) return
    const isNew = names.some((name) => name !== '' && !known?.has(name))
    if (isNew && named.size > most) {
      throw tooManyDevices(user, most)
    }
    const changed = names.filter((name) => {
      const { seenAt = Number.NEGATIVE_INFINITY } = known?.get(name) ?? {}
      return now - seenAt >= fixed.deviceSeenMs
    })
    if (changed.length === 0) return
    const former = changed.map((name) => known?.get(name)?.seenAt)
    const devices = changed.map((name) => {
      const device = known?.get(name) ?? new Device({ name, seenAt: now })
      device.seenAt = now
      index.devices.set(user, device)
      return device
    })
    await writer.add({
      frees: true,
      records: devices.map((device) => writeDevice(user, device)),
      undo() {
        for (const [at, device] of devices.entries()) {
          const seenAt = former[at]
          if (seenAt === undefined) index.devices.delete(user, device.name)
          else device.seenAt = seenAt
        }
      },
    })
  }

  async forget(before: number): Promise<readonly UserDevice[]> {
    const forgotten: UserDevice[] = []
    for (const [user, devices] of [...this.#options.index.devices.users()]) {
      const old = [...devices.values()].filter(({ seenAt }) => seenAt < before)
      if (old.length === 0) continue
      await this.#forget(user, old)
      for (const { name: device } of old) forgotten.push({ user, device })
    }
    return forgotten
  }

  async remove(user: string, name: string): Promise<boolean> {
    const device = this.#options.index.devices.of(user)?.get(name)
    if (device) await this.#forget(user, [device])
    return device !== undefined
  }

  async list(user: string): Promise<readonly ListedDevice[]> {
    const { index } = this.#options
    const mailbox = index.mailbox(user)
    const devices = [...(index.devices.of(user)?.values() ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1))
    return devices.map(({ name, seenAt, upTo, beyond }) => {
      let waiting = 0
      for (const { seq } of mailbox?.after(upTo) ?? []) if (!beyond.has(seq) && !mailbox?.isAside(seq)) waiting++
      return { name, seenAt, waiting }
    })
  }

  async #forget(user: string, old: readonly Device[]): Promise<void> {
    const { index, writer, settler } = this.#options
    const rest = [...(index.devices.of(user)?.values() ?? [])].filter((device) => !old.includes(device))
    // This precedes the forgetting, so that after a crash in between, no message remains that all devices have handled.
    const { handled, rejected } = this.#answeredBy(user, rest, rest.length > 0 ? this.#waiting(user) : [])
    const removed = settler.remove(user, handled, { state: 'handled' })
    const setAside = settler.setAside(user, [...rejected.keys()], rejected)
    // The device without a name is known only together with others.
    const gone = rest.every(({ name }) => name === '') ? [...old, ...rest] : old
    for (const { name } of gone) index.devices.delete(user, name)
    const stored = writer.add({
      frees: true,
      records: gone.map(({ name }) => writeForgotten(user, name)),
      undo() {
        for (const device of gone) index.devices.set(user, device)
      },
    })
    await Promise.all([removed, setAside, stored])
  }

  /** Implements `MailboxStore.remove` and, for rejected messages, `MailboxStore.setAside`. */
  async answer(user: string, seqs: readonly number[], how: Settlement, options: AnswerOptions): Promise<void> {
    const { isRejected, mayWait } = options
    const { index, settler } = this.#options
    const devices = how.device === undefined ? undefined : index.devices.of(user)
    if (!devices) {
      await (isRejected ? settler.setAside(user, seqs, how.results) : settler.remove(user, seqs, how, mayWait))
      return
    }
    const own = devices.get(how.device ?? '')
    if (!own) return
    const mailbox = index.mailbox(user)
    const open = seqs.filter((seq) => mailbox?.get(seq) && !mailbox.isAside(seq) && !own.hasHandled(seq))
    const others = [...devices.values()].filter((device) => device !== own)
    const { handled, rejected } = this.#answeredBy(user, others, open)
    const answered = new Set([...handled, ...rejected.keys()])
    const waiting = open.filter((seq) => !answered.has(seq))
    // The reason of the first device that has rejected a message counts.
    const aside = new Map([
      ...(isRejected ? handled.map((seq) => [seq, reasonOf(how, seq)] as const) : []),
      ...rejected,
    ])
    own.hold(open)
    try {
      await Promise.all([
        settler.remove(user, isRejected ? [] : handled, how, mayWait),
        aside.size > 0 && settler.setAside(user, [...aside.keys()], aside),
        this.#record(user, own, waiting, how, options),
      ])
    } finally {
      own.settle(open, index.mailbox(user))
    }
  }

  /** Records the answer of a device to messages that wait for other devices. */
  async #record(
    user: string,
    device: Device,
    seqs: readonly number[],
    how: Settlement,
    { isRejected, mayWait }: AnswerOptions,
  ): Promise<void> {
    if (seqs.length === 0) return
    const { name, beyond } = device
    const { index, writer } = this.#options
    const mailbox = index.mailbox(user)
    const rejected = isRejected ? seqs.filter((seq) => mailbox?.rejection(seq) === undefined) : []
    const isAsking = (seq: number) => mailbox?.get(seq)?.askingId !== undefined
    const reasons = new Map(rejected.map((seq) => [seq, isAsking(seq) ? reasonOf(how, seq) : '']))
    for (const seq of seqs) beyond.add(seq)
    for (const [seq, reason] of reasons) index.reject(user, seq, reason)
    const handled = writeHandled(user, name, seqs)
    await writer.add({
      frees: true,
      mayWait,
      records: reasons.size > 0 ? [writeRejected({ user, reasons }), handled] : [handled],
      undo() {
        for (const seq of seqs) beyond.delete(seq)
        for (const seq of rejected) index.reject(user, seq, undefined)
      },
    })
  }

  #waiting(user: string): readonly number[] {
    const mailbox = this.#options.index.mailbox(user)
    return Array.from(mailbox?.after(0) ?? [], ({ seq }) => seq).filter((seq) => !mailbox?.isAside(seq))
  }

  /** Returns those of these messages that all of these devices have answered. */
  #answeredBy(user: string, devices: readonly Device[], seqs: readonly number[]): Answered {
    const mailbox = this.#options.index.mailbox(user)
    const answered = seqs.filter((seq) => devices.every((device) => device.hasHandled(seq)))
    const handled: number[] = []
    const rejected = new Map<number, string>()
    for (const seq of answered) {
      const rejection = mailbox?.rejection(seq)
      if (rejection === undefined) handled.push(seq)
      else rejected.set(seq, rejection)
    }
    return { handled, rejected }
  }
}

/** Returns the reason for which a device has rejected a message. */
const reasonOf = ({ results }: Settlement, seq: number) => results?.get(seq) ?? ''
