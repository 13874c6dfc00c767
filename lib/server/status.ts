import type { Upload } from './files/upload.ts'
import type { Member } from './messages/presenceList.ts'

/** An upload as `Server.status` shows it. */
export interface ReceivingUpload {
  readonly user: string
  readonly name: string
  readonly size: number
  /** The instance that receives it, and the node of the link that sends it. */
  readonly instance: number
  readonly node: number
  /** Leading bytes written, and durable. */
  readonly progress: number
  readonly durable: number
}

export interface ServerStatus {
  readonly links: number
  /** Users with at least one link, sorted. */
  readonly users: readonly string[]
  /** Who has registered and is in the online list. */
  readonly online: readonly Member[]
  readonly uploads: readonly ReceivingUpload[]
}

/** An upload as it is shown. */
export function shown({ user, name, size, standing, instance }: Upload): ReceivingUpload {
  return { user, name, size, instance: instance?.number ?? 0, node: instance?.holder?.node ?? 0, ...standing }
}
