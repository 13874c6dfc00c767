import { OspError } from '../../lib/errors.ts'
import type { Authenticator, Credentials } from '../../lib/ports/authenticator.ts'

type Changed = (user: string | undefined) => void

/** An authenticator that lets in whoever is not barred, and tells of changes when it is told to. */
export class Gatekeeper implements Authenticator {
  readonly barred = new Set<string>()
  readonly watchers = new Set<Changed>()
  /** What is done each time somebody comes, before it is decided whether they come in. */
  asked: (user: string) => void | Promise<void> = () => {}
  /** What is done once that is decided. */
  decided: (user: string) => void = () => {}

  async authenticate({ user }: Credentials): Promise<{ user: string }> {
    await this.asked(user)
    if (this.barred.has(user)) throw new OspError('unauthorized', `${user} is barred`)
    this.decided(user)
    return { user }
  }

  async knows(): Promise<boolean> {
    return true
  }

  watch(changed: Changed): Disposable {
    this.watchers.add(changed)
    return { [Symbol.dispose]: () => void this.watchers.delete(changed) }
  }

  /** Takes a user's right away, or everybody's with `undefined`, and tells it. */
  tell(user: string | undefined): void {
    for (const changed of this.watchers) changed(user)
  }
}
