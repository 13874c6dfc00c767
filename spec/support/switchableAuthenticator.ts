import { OspError } from '../../lib/errors.ts'
import type { Authenticator, Credentials } from '../../lib/ports/authenticator.ts'

type Changed = (user: string | undefined) => void

/** An authenticator that accepts every user who is not barred, and reports changes on request. */
export class SwitchableAuthenticator implements Authenticator {
  readonly barred = new Set<string>()
  readonly watchers = new Set<Changed>()
  /** Called before each decision about a login. */
  asked: (user: string) => void | Promise<void> = () => {}
  /** Called after a login was accepted. */
  accepted: (user: string) => void = () => {}

  async authenticate({ user }: Credentials): Promise<{ user: string }> {
    await this.asked(user)
    if (this.barred.has(user)) throw new OspError('unauthorized', `${user} is barred`)
    this.accepted(user)
    return { user }
  }

  async knows(): Promise<boolean> {
    return true
  }

  watch(changed: Changed): Disposable {
    this.watchers.add(changed)
    return { [Symbol.dispose]: () => void this.watchers.delete(changed) }
  }

  /** Reports that the rights of a user, or of all users (`undefined`), have changed. */
  reportChange(user: string | undefined): void {
    for (const changed of this.watchers) changed(user)
  }
}
