import assert from 'node:assert/strict'
import { keptContexts } from 'ospd/node'
import { contextDefaults } from '../../../bin/common/context.ts'
import type { ReadGiven } from '../../../bin/common/settings.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const context = { server: 'Files.example:6682', user: 'alice', tls: true, tlsCa: '/ca.pem' }

/** Returns the defaults of a command with these values, in a state directory with one context. */
async function defaults(values: Readonly<Record<string, unknown>>) {
  await using at = await place()
  await keptContexts(at.path).use(context)
  const given = { state: at.path, ...values }
  const readGiven = ((name: keyof typeof given) => given[name]) as unknown as ReadGiven
  return contextDefaults(readGiven)?.values
}

spec('the current context', (it) => {
  it('provides the server, the user and the TLS settings', async () => {
    const { server, user, tls, 'tls-ca': ca, 'tls-key': key } = (await defaults({})) ?? {}
    assert.deepEqual([server, user, tls, ca, key], [context.server, 'alice', true, '/ca.pem', undefined])
  })

  it('provides nothing to a command that is given another server', async () => {
    for (const server of [
      { host: 'files.example', port: 6683 },
      { host: 'example', port: 6682 },
    ])
      assert.equal(await defaults({ server }), undefined)
    assert.equal((await defaults({ server: { host: 'files.example', port: 6682 } }))?.user, 'alice')
  })

  it('provides no TLS settings to a command without TLS', async () => {
    const { server, user, ...others } = (await defaults({ tls: false })) ?? {}
    assert.deepEqual([server, user, others], [context.server, 'alice', { 'allow-plaintext': undefined }])
  })

  it('is missing if there is none', async () => {
    await using at = await place()
    assert.equal(contextDefaults(((name: string) => (name === 'state' ? at.path : undefined)) as ReadGiven), undefined)
  })
})
