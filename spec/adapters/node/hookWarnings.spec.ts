import assert from 'node:assert/strict'
import { connect, serve } from 'ospd'
import { memory } from 'ospd/memory'
import { hookWarnings } from '../../../lib/adapters/node/hookWarnings.ts'
import { spec } from '../../support/spec.ts'

type Warning = Error & { readonly code?: string }

/** Collects the warnings of this process until it is disposed of. */
function warnings() {
  const all: Warning[] = []
  const add = (warning: Warning) => all.push(warning)
  process.on('warning', add)
  return Object.assign(all, { [Symbol.dispose]: () => process.off('warning', add) })
}

spec('a program without a log', (it) => {
  it('is warned of the first error of each kind of its functions', async () => {
    using emitted = warnings()
    const log = hookWarnings()
    const failed = { level: 'warn', event: 'stored-handler-failed', text: 'no space' } as const
    for (const entry of [failed, failed, { level: 'error', event: 'mailbox-failed', text: 'x' } as const]) log(entry)
    await new Promise(setImmediate)
    assert.deepEqual(
      emitted.map(({ name, code, message }) => [name, code, message]),
      [
        [
          'OspdWarning',
          'stored-handler-failed',
          'stored-handler-failed: no space (pass the option log to receive all errors)',
        ],
      ],
    )
  })

  it('is warned if authenticate or onStored of its server, or a handler of its client, fails', async () => {
    using emitted = warnings()
    const authenticate = ({ user }: { user: string }) => {
      if (user === 'mallory') throw new TypeError('a bug')
      return Promise.resolve({ user })
    }
    const onStored = () => Promise.reject(new Error('onStored fails'))
    const authenticator = { authenticate, knows: async () => true }
    await using server = await serve({ listen: 0, storage: memory(), authenticator, onStored })
    const url = `ospd://127.0.0.1:${server.addresses[0]?.port}`
    await assert.rejects(connect(url, { user: 'mallory' }))
    await using alice = await connect(url, { user: 'alice' })
    await (await alice.upload(new TextEncoder().encode('a'), { name: 'a' })).done
    alice.receive(() => Promise.reject(new Error('the handler fails')))
    await alice.send(['alice'], 'hi')
    while (emitted.length < 3) await new Promise((resolve) => setTimeout(resolve, 10))
    assert.deepEqual(emitted.map(({ code }) => code).sort(), [
      'handler-failed',
      'request-failed',
      'stored-handler-failed',
    ])
  })
})
