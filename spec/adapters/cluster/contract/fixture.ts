import { randomBytes, randomUUID } from 'node:crypto'
import type { ClusterListeningLink } from '../../../../lib/adapters/cluster/mailSteps.ts'
import type { Steps } from '../../../../lib/adapters/cluster/steps.ts'

/** A shared store that is empty at first, for one test case. Disposing it also closes all steps. */
export interface SharedStoreFixture extends AsyncDisposable {
  /** Returns open steps of a further server. */
  connect(): Promise<Steps>
}

/** A server of a test case. */
export interface TestedServer {
  readonly steps: Steps
  readonly server: number
  /** Returns a link of this server. */
  link(user: string, link: number, session?: string): ClusterListeningLink
}

/** A lease that is longer than every test case. */
export const longMs = 600_000

/** Returns a random session. */
export const newSession = (): string => randomBytes(16).toString('hex')

/** Returns the information with which a server joins. */
export const infoOf = (name: string) => ({ name, boot: randomUUID(), version: '1.2.3', address: '127.0.0.1:1' })

/** Adds a server. */
export async function entered(store: SharedStoreFixture, leaseMs = longMs): Promise<TestedServer> {
  const steps = await store.connect()
  const server = await steps.enter(infoOf('a server'), leaseMs)
  return { steps, server, link: (user, link, session = newSession()) => ({ server, link, user, session, device: '' }) }
}

/** Resolves with the first defined result of `look`. */
export async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Resolves when `by` has declared a server dead whose lease has expired. */
export async function declaredDead(by: TestedServer, server: number): Promise<void> {
  await eventually(async () => ((await by.steps.declareDead(by.server)).includes(server) ? true : undefined))
}
