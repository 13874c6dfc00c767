import assert from 'node:assert/strict'
import type { PeerAddress, Socket } from '../../lib/ports/socket.ts'
import { assertTokenAllowed, bindingOf, type TokenBinding } from '../../lib/runtime/tokenBinding.ts'
import { spec } from '../support/spec.ts'

const key = `SHA256:${'A'.repeat(43)}` as const
const otherKey = `SHA256:${'B'.repeat(43)}` as const

interface Connection {
  readonly guarded: boolean
  readonly peer: PeerAddress
}

const remote = { host: '192.0.2.1', port: 1, local: false }
const local = { host: '127.0.0.1', port: 1, local: true }

/** Connections, and the bindings of the tokens that may be sent over each. */
const connections: Readonly<Record<string, readonly [Connection, readonly TokenBinding[]]>> = {
  'a server that a root vouches for': [
    { guarded: true, peer: { ...remote, verification: { by: 'authority', fingerprint: otherKey } } },
    ['authority', key, otherKey, 'local', 'unrecorded', 'open'],
  ],
  'a server that is known by its key': [
    { guarded: true, peer: { ...remote, verification: { by: 'key', fingerprint: key } } },
    [key, 'open'],
  ],
  'a server on this machine that is known by its key': [
    { guarded: true, peer: { ...local, verification: { by: 'key', fingerprint: key } } },
    [key, 'local', 'open'],
  ],
  'a server on this machine without TLS': [{ guarded: false, peer: local }, ['local', 'unrecorded', 'open']],
  'a server of a transport that verifies none': [{ guarded: true, peer: remote }, ['open']],
  'another machine without TLS': [{ guarded: false, peer: remote }, []],
}

function allows(connection: Connection, boundTo: TokenBinding, allowPlaintext = false): boolean {
  let isEnded = false
  const socket = { ...connection, destroy: () => (isEnded = true) } as unknown as Socket
  try {
    assertTokenAllowed({ token: 'osp_marked', boundTo }, socket, allowPlaintext)
    return true
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    assert.deepEqual([code, isEnded, message.includes('osp_marked')], ['unauthorized', true, false])
    return false
  }
}

const bindings: readonly TokenBinding[] = ['authority', key, otherKey, 'local', 'unrecorded', 'open']

spec('a token that is bound to a connection', (it) => {
  for (const [what, [connection, allowed]] of Object.entries(connections)) {
    it(`is sent to ${what} if that is as strong`, () => {
      const found = bindings.filter((binding) => allows(connection, binding))
      assert.deepEqual(found, allowed)
    })
  }

  it('is sent without TLS to another machine only with allowPlaintext and an open binding', () => {
    const [connection] = connections['another machine without TLS'] ?? []
    assert.ok(connection)
    const found = bindings.filter((binding) => allows(connection, binding, true))
    assert.deepEqual(found, ['unrecorded', 'open'])
  })

  it('with an unknown binding is sent only to a server with a trusted root', () => {
    const found = Object.values(connections).map(([connection]) => allows(connection, 'other' as TokenBinding, true))
    assert.deepEqual(found, [true, false, false, false, false, false])
  })

  it('has the binding of the connection of its login, and is sent over that one', () => {
    const found = Object.values(connections).map(([connection]) => bindingOf(connection))
    assert.deepEqual(found, ['authority', key, key, 'local', 'open', 'open'])
    for (const [connection] of Object.values(connections)) assert.ok(allows(connection, bindingOf(connection), true))
  })

  it('that is not sent causes an error with both servers and advice', () => {
    const [connection] = connections['a server that is known by its key'] ?? []
    const socket = { ...connection, destroy: () => {} } as unknown as Socket
    const text = (boundTo: TokenBinding) => {
      try {
        assertTokenAllowed({ token: 'x', boundTo }, socket, false)
        return ''
      } catch (error) {
        return (error as Error).message
      }
    }
    const now = `this one is known only by its key ${key}; another program may be posing as the server. If its operator confirms the change, log in again (osp login)`
    assert.deepEqual(
      (['authority', otherKey, 'local', 'unrecorded'] as const).map(text),
      [
        'it was stored for a server whose certificate an authority vouched for',
        `it was stored for the server with the key ${otherKey}`,
        'it was stored for a server on this machine',
        'it was stored without a record of how its server was verified',
      ].map((before) => `the token was not sent to 192.0.2.1: ${before}, and ${now}`),
    )
  })
})
