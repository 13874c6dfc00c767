import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { keptContexts } from 'ospd/node'
import type { CommonOptions } from '../../../bin/common/commonOptions.ts'
import { contextDefaults, saveContext, tokenOf } from '../../../bin/common/context.ts'
import type { ReadGiven } from '../../../bin/common/settings.ts'
import { clientLimits } from '../../../lib/limits.ts'
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

spec('the oldest of too many contexts', (it) => {
  it('is removed with its token', async () => {
    await using at = await place()
    const older = Array.from({ length: clientLimits.contexts }, (_, number) => ({ ...context, user: `user${number}` }))
    const content = JSON.stringify({ version: 1, current: null, contexts: older })
    await writeFile(`${at.path}/contexts.json`, content, { mode: 0o600 })
    for (const each of older.slice(0, 2)) await tokenOf({ state: at.path }, each)?.keep('osp_token')
    const server = { host: 'files.example', port: 6682 }
    await saveContext({ state: at.path, server, user: 'alice', tls: true } as CommonOptions)
    const { all } = keptContexts(at.path).load()
    assert.deepEqual([all.size, [...all.values()][0]?.user], [clientLimits.contexts, 'user1'])
    const tokens = older.slice(0, 2).map(({ user }) => existsSync(`${at.path}/files.example_6682/${user}/token`))
    assert.deepEqual(tokens, [false, true])
  })
})

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
