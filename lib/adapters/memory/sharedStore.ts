import { OspError } from '../../errors.ts'
import type { Platform } from '../../ports/platform.ts'
import { type Notice, type NoticeSteps, raisedBy, type SeenState, type Steps } from '../cluster/steps.ts'
import { olderFiles, olderTransfers } from './olderSteps.ts'
import { SharedImports } from './sharedImports.ts'
import { SharedMail } from './sharedMail.ts'
import { SharedServers } from './sharedServers.ts'
import { SharedSessions } from './sharedSessions.ts'
import { SharedTransfers } from './sharedTransfers.ts'
import { SharedUsers } from './sharedUsers.ts'

/**
 * The shared store of a cluster, in the memory of one process. It is linearizable: each step takes effect at one moment, in the
 * order of the calls, except that the steps of a user wait while a claim of that user decides. It sets no timers.
 */
export class MemorySharedStore {
  readonly #servers: SharedServers
  readonly #mail: SharedMail
  readonly #sessions: SharedSessions
  readonly #transfers: SharedTransfers
  readonly #users: SharedUsers
  readonly #imports: SharedImports
  readonly #notices = new SharedNotices()
  readonly #opened: Promise<void>

  /** Leases go by `now` of the clock, completion markers by its wall time. */
  constructor(platform: Platform) {
    const { clock } = platform
    const wallTime = () => clock.wallTime()
    const died = (server: number) => {
      this.#mail.died(server)
      this.#sessions.died(server)
      this.#transfers.died(server)
    }
    this.#servers = new SharedServers(() => clock.now(), wallTime, died)
    this.#sessions = new SharedSessions(this.#servers)
    this.#mail = new SharedMail(this.#servers, this.#sessions)
    this.#transfers = new SharedTransfers(this.#servers, this.#sessions, wallTime)
    this.#users = new SharedUsers(wallTime)
    this.#imports = new SharedImports(this.#servers, this.#mail, this.#transfers, this.#users)
    this.#opened = this.#mail.open(platform)
  }

  /**
   * Returns a function that restores everything but the users to its current state, like the promotion of a standby that lacks
   * the latest changes.
   */
  saved(): () => Promise<void> {
    const restored = [this.#servers.saved(), this.#sessions.saved(), this.#mail.saved(), this.#transfers.saved()]
    return async () => {
      for (const restore of restored) await restore()
      const { lastNumber, lastBlock } = this.#servers
      const seq = await this.#mail.lastSeq()
      await this.#raise(lastNumber, { seq, token: this.#transfers.lastToken, linkBlock: lastBlock })
    }
  }

  /** Raises all numbers above these. */
  async #raise(server: number, numbers: Pick<SeenState, 'seq' | 'token' | 'linkBlock'>): Promise<void> {
    const { seq, token } = numbers
    await this.#servers.raise(server, numbers)
    await this.#mail.raise(seq + raisedBy)
    this.#transfers.raise(token + raisedBy)
    await this.#users.refresh()
  }

  /**
   * Returns the steps of one server, which take effect while they are open. A server that enters with version 2 of the schema
   * sets `isOlder`.
   */
  steps(isOlder = false): Steps {
    let isOpen = false
    const check = () => {
      if (!isOpen) throw new OspError('closed', 'the shared store is closed; open it first')
    }
    const transfers = checkedMethods(this.#transfers, check)
    const files = checkedMethods(this.#transfers.files, check)
    return {
      ...checkedMethods(this.#servers, check),
      ...checkedMethods(this.#sessions, check),
      compare: async (server, boot, seen) => {
        check()
        const found = await this.#servers.compare(server, boot, seen)
        const isBehind = (await this.#mail.lastSeq()) < seen.seq || this.#transfers.lastToken < seen.token
        return { ...found, isBehind: found.isBehind || isBehind }
      },
      raise: async (server, seen) => {
        check()
        await this.#raise(server, seen)
      },
      mail: checkedMethods(this.#mail, check),
      transfers: isOlder ? olderTransfers(transfers) : transfers,
      files: isOlder ? olderFiles(files) : files,
      imports: checkedMethods(this.#imports, check),
      ...checkedMethods(this.#users, check),
      tell: (to, notice) => this.#notices.tell(to, notice),
      hear: (server, heard) => this.#notices.hear(server, (notice) => isOpen && heard(notice)),
      open: async () => {
        await this.#opened
        isOpen = true
      },
      [Symbol.asyncDispose]: async () => {
        isOpen = false
      },
    }
  }
}

/** The notifications of a shared store. They arrive after the current microtask. */
class SharedNotices implements NoticeSteps {
  readonly #listeners = new Set<{ readonly server: number; readonly heard: (notice: Notice) => void }>()

  async tell(to: number | 'all', notice: Notice): Promise<void> {
    await Promise.resolve()
    for (const { server, heard } of this.#listeners) if (to === 'all' || to === server) heard(notice)
  }

  hear(server: number, heard: (notice: Notice) => void): Disposable {
    const listener = { server, heard }
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }
}

type AsyncMethod = (...given: never[]) => Promise<unknown>

/** Returns the methods of the prototype of `part`, bound to it. Each rejects if `check` throws. */
function checkedMethods<T extends object>(part: T, check: () => void): { readonly [K in keyof T]: T[K] } {
  const methods: Record<string, AsyncMethod> = {}
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(part))) {
    if (name === 'constructor') continue
    const method = Reflect.get(part, name) as AsyncMethod
    methods[name] = async (...given) => {
      check()
      return method.apply(part, given)
    }
  }
  return methods as { readonly [K in keyof T]: T[K] }
}
