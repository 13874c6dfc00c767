import { certificateNames } from '../../lib/adapters/auth/certificateNames.ts'
import { allowAll, loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { usersFile } from '../../lib/adapters/auth/usersFile.ts'
import { afar, here } from '../../lib/testing/authenticator.ts'
import { authenticatorContract, type Gate } from '../../lib/testing.ts'
import { runTestCases } from '../support/runTestCases.ts'
import { temporaryDirectory } from './storage/places.ts'

const alice = { user: 'alice', token: '', peer: here }
const lasting = { async [Symbol.asyncDispose]() {} }
const shown = (certificateName: string) => ({ ...afar, certificateName })

runTestCases(
  authenticatorContract(
    'loopbackOnly',
    async () => ({
      ...lasting,
      authenticator: loopbackOnly(),
      known: alice,
      strangers: [
        { ...alice, peer: afar },
        { ...alice, peer: afar, token: 'secret' },
      ],
    }),
    { changing: false },
  ),
)

runTestCases(
  authenticatorContract(
    'allowAll',
    async () => ({ ...lasting, authenticator: allowAll(), known: { ...alice, peer: afar }, strangers: [] }),
    { changing: false },
  ),
)

runTestCases(
  authenticatorContract(
    'certificateNames',
    async () => ({
      ...lasting,
      authenticator: certificateNames(),
      known: { ...alice, peer: shown('alice') },
      strangers: [
        alice,
        { ...alice, token: 'secret' },
        { ...alice, peer: shown('bob') },
        { ...alice, peer: shown('') },
        { ...alice, peer: shown('Alice') },
      ],
    }),
    { changing: false },
  ),
)

runTestCases(authenticatorContract('usersFile', withUsers, { changing: true }))

runTestCases(
  authenticatorContract(
    'certificateNames before usersFile',
    async () => {
      const { unknown: _, ...gate } = await withUsers()
      const strangers = [...gate.strangers, { ...gate.known, peer: shown('bob') }]
      return { ...gate, authenticator: certificateNames(gate.authenticator), strangers }
    },
    { changing: true },
  ),
)

runTestCases(
  authenticatorContract(
    'certificateNames of a usersFile',
    async () => {
      const gate = await withUsers()
      const users = gate.authenticator
      const known = { ...alice, peer: shown('alice') }
      const strangers = [
        ...gate.strangers,
        { ...known, peer: shown('bob') },
        { ...known, user: 'carol', peer: shown('carol') },
      ]
      return { ...gate, authenticator: certificateNames(users, { users }), known, strangers }
    },
    { changing: true },
  ),
)

async function withUsers(): Promise<Gate> {
  const directory = await temporaryDirectory()
  const users = usersFile(directory.path)
  const known = { ...alice, token: await users.add('alice'), peer: afar }
  const bob = await users.add('bob')
  return {
    authenticator: usersFile(directory.path),
    known,
    strangers: [
      alice,
      { ...known, token: bob },
      { ...known, token: `${known.token}x` },
      { ...known, token: known.token.slice(0, -1) },
      { ...known, token: known.token.toUpperCase() },
      { ...known, user: 'bob' },
      { ...known, user: 'Alice' },
      { ...known, user: 'carol' },
      { ...known, user: '__proto__' },
    ],
    unknown: 'carol',
    revoke: () => users.remove('alice'),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
}
