import { isUserName } from '../../names.ts'
import type { WireMessage } from '../../wire/message.ts'
import { protocolViolation } from '../connection/session.ts'
import type { SignalOptions } from './message.ts'

/** A known device of the user. */
export interface DeviceInfo {
  /** The name of the device. An empty name stands for the programs that listen without a device. */
  readonly name: string
  /** Whether a program listens for it now. */
  readonly isListening: boolean
  /** The time at which it last listened; up to about two hours earlier if it does not listen now. */
  readonly seenAt: Date
  /** The number of waiting messages that it has not handled. */
  readonly waiting: number
}

/** The devices that receive the messages of the user. A message waits until all of them have handled it. */
export interface Devices {
  /** Resolves with the known devices, sorted by name. The list is empty if all programs listen without a device. */
  list(options?: SignalOptions): Promise<readonly DeviceInfo[]>
  /**
   * Removes a device: messages no longer wait for it, and those that all other devices have handled leave the mailbox, with their
   * receipts. If the device listens again, it is a new device, which receives all waiting messages. Resolves with false if no device
   * has this name, which can also mean that the reply to an earlier attempt was lost. Rejects with OspError `device-listening` while
   * a program listens for the device.
   */
  remove(name: string, options?: SignalOptions): Promise<boolean>
}

/** Returns the devices of a reply. Throws OspError `malformed` if a name is not safe to show to users and programs. */
export function deviceInfos({ devices }: WireMessage<'ListDevicesAck'>): readonly DeviceInfo[] {
  return devices.map(({ device: name, seenAt, listening, waiting }) => {
    if (name !== '' && !isUserName(name)) throw protocolViolation('the name of a device is not allowed')
    return { name, isListening: listening === 1, seenAt: new Date(seenAt), waiting }
  })
}
