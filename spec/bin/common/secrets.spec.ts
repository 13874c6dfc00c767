import assert from 'node:assert/strict'
import { readCommandLine, settingsOf } from '../../../bin/common/commandLine.ts'
import { secrets } from '../../../bin/common/secrets.ts'
import { resolve, variableOf } from '../../../bin/common/settings.ts'
import { UsageError } from '../../../bin/common/usage.ts'
import { ospd } from '../../../bin/ospdProgram.ts'
import { osp } from '../../../bin/ospProgram.ts'
import { newToken } from '../../../lib/adapters/auth/tokens.ts'
import { place, run } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const token = newToken()
const cut = token.slice(0, 40)

/** Returns the message of the UsageError that a call throws. */
function refusal(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error))
    return error.message
  }
  throw new Error('it was accepted')
}

const assertHidden = (text: string) => assert.ok(!text.includes(token.slice(4, 14)), text)

spec('a token in the place of another value', (it) => {
  for (const program of [osp, ospd]) {
    it(`is refused and not repeated by each setting of ${program.name}, as a flag, a variable and a key`, async () => {
      await using at = await place()
      for (const command of program.commands) {
        const { config: _, ...settings } = settingsOf(command)
        for (const [name, { placeholder }] of Object.entries(settings)) {
          const known = [name]
          const given = { env: {}, prefix: 'X', known, flags: {} }
          await at.write('config', JSON.stringify({ [name]: token }))
          const config = `${at.path}/config`
          const texts = [token, `${token}:1`, cut].map((value) =>
            refusal(() => resolve(settings, { ...given, flags: { [name]: value } })),
          )
          texts.push(refusal(() => resolve(settings, { ...given, env: { [variableOf('X', name)]: token } })))
          texts.push(refusal(() => resolve(settings, { ...given, flags: { config } })))
          for (const text of texts) {
            assertHidden(text)
            if (placeholder !== undefined) assert.match(text, /is a token; provide a token with "osp login"/u)
          }
        }
      }
    })
  }

  it('is not repeated as the value of --fingerprint, whatever its form is', () => {
    const login = osp.commands.find(({ name }) => name === 'login')
    assert.ok(login)
    for (const value of ['s3cr3t-of-alice', 'osp_marked', 'SHA256:short']) {
      const given = { env: {}, prefix: 'X', known: [], flags: { fingerprint: value } }
      const text = refusal(() => resolve(login.settings, given))
      assert.match(text, /^--fingerprint cannot be that value: it takes a fingerprint, as ospd prints it/u)
      assert.ok(!text.includes(value))
    }
  })

  it('is not repeated as a configuration file, nor as the content of one', async () => {
    await using at = await place()
    await at.write('config', `${token}\n`)
    const given = { env: {}, prefix: 'X', known: [], flags: { config: `${at.path}/config` } }
    const text = refusal(() => resolve({}, given))
    assert.match(text, /is not JSON$/u)
    assertHidden(text)
    assertHidden(secrets.hide(refusal(() => resolve({}, { ...given, flags: { config: token } }))))
  })

  it('is hidden in errors that repeat a word of the command line', () => {
    for (const args of [[token], ['help', token], ['help', 'send', token], ['who', `--${token}`], [`-${token}`]]) {
      assertHidden(secrets.hide(refusal(() => readCommandLine(osp, args))))
    }
  })

  it('is not repeated by a process, as an operand, a flag or a variable', async () => {
    const lines: readonly (readonly ['osp' | 'ospd', readonly string[], NodeJS.ProcessEnv?])[] = [
      ['osp', ['login', '--fingerprint', token]],
      ['osp', ['send', token]],
      ['ospd', ['user', 'rotate', token]],
      ['osp', ['who', `--nothing=${token}`], { OSP_DEBUG: '1' }],
      ['osp', ['who'], { OSP_SERVER: token, OSP_DEBUG: '1' }],
    ]
    const outcomes = await Promise.all(lines.map(([program, args, env = {}]) => run(program, args, { input: '', env })))
    for (const { code, stdout, stderr } of outcomes) {
      assert.equal(code, 2, stderr)
      assertHidden(`${stdout}${stderr}`)
    }
  })
})

spec('hidden words', (it) => {
  it('are tokens that the process knows, of any form, and words of the form of a token', () => {
    secrets.add('s3cr3t-of-alice')
    assert.equal(secrets.hide(`a s3cr3t-of-alice, ${token}, ${cut}!`), 'a osp_…, osp_…, osp_…!')
  })

  it('do not include file names that only begin like a token', () => {
    assert.equal(secrets.hide('osp_notes.txt osp_of_november_2026.tar'), 'osp_notes.txt osp_of_november_2026.tar')
  })

  it('do not include short words', () => {
    secrets.add('a')
    assert.equal(secrets.hide('a name'), 'a name')
  })
})
