import assert from 'node:assert/strict'
import { readCommandLine, settingsOf } from '../../../bin/common/commandLine.ts'
import type { Command, Program } from '../../../bin/common/program.ts'
import { type Given, resolve } from '../../../bin/common/settings.ts'
import { UsageError } from '../../../bin/common/usage.ts'
import { ospd } from '../../../bin/ospdProgram.ts'
import { osp } from '../../../bin/ospProgram.ts'
import { sendCommand } from '../../../bin/send/send.ts'
import { serveCommand } from '../../../bin/serve/serve.ts'
import { whoCommand } from '../../../bin/who/who.ts'
import { spec } from '../../support/spec.ts'

/** Words that look like numbers, switches, quotes, paths of objects, commands. */
const words = [
  ...[
    '3.10',
    '1e3',
    '.5',
    '1.',
    '007',
    '0x10',
    '0b1',
    '0o7',
    '1_000',
    '+1',
    '00',
    'Infinity',
    'NaN',
    '9007199254740993',
  ],
  ...[
    'true',
    'false',
    'null',
    'undefined',
    'yes',
    '__proto__',
    'constructor',
    'a.b',
    'a.b=c',
    'a=b',
    '=',
    '==x',
    'k=-1',
  ],
  ...[
    '"q"',
    "'q'",
    '"',
    "''",
    '`x`',
    '$HOME',
    '\\',
    'a\\b',
    ' ',
    ' a ',
    'a b',
    '\ta\n',
    'a\r\nb',
    '*',
    '~',
    '%s',
    '[1,2]',
  ],
  ...[
    '{}',
    'help',
    'completion',
    'version',
    'send',
    'serve',
    'msg',
    'no-json',
    'json',
    '丁',
    '😀',
    'e\u0301',
    '\uFEFFx',
  ],
]

/** Words that are flags unless another word precedes them. */
const dashed = [
  '-1',
  '-.5',
  '--',
  '---',
  '--user',
  '--user=x',
  '--json',
  '-h',
  '--help',
  '-r',
  '-> look',
  '--get-yargs-completions',
]

function read(program: Program, args: readonly string[]) {
  const request = readCommandLine(program, args)
  assert.equal(request.asks, 'run')
  if (request.asks !== 'run') throw new Error('it asks for no run')
  return request
}

const commands = [osp, ospd].flatMap((program) => program.commands.map((command) => ({ program, command })))

const withValues = (command: Command) =>
  Object.entries(settingsOf(command)).filter(([, { placeholder }]) => placeholder !== undefined)

spec('a command line', (it) => {
  for (const { program, command } of commands) {
    it(`of ${program.name} ${command.name} has its operands as typed`, () => {
      for (const word of ['', '-', ...words]) {
        for (const args of [[word], ['x', word, 'y'], [word, word], ['--', word]]) {
          const wanted = args.filter((each) => each !== '--')
          assert.deepEqual(read(program, [command.name, ...args]).operands, wanted)
          assert.deepEqual(read(program, [command.name, '--json', ...args]).operands, wanted)
        }
      }
      for (const word of ['', ...words, ...dashed]) {
        const { operands, flags } = read(program, [command.name, 'x', '--', word, '-', word])
        assert.deepEqual([operands, flags], [['x', word, '-', word], {}])
      }
    })

    it(`of ${program.name} ${command.name} has the values of its flags as typed`, () => {
      for (const [flag, { alias, isRepeatable }] of withValues(command)) {
        for (const word of ['', '-', ...words]) {
          const value = isRepeatable ? [word] : word
          assert.deepEqual(read(program, [command.name, `--${flag}`, word]).flags, { [flag]: value })
          if (alias) assert.deepEqual(read(program, [command.name, `-${alias}`, word]).flags, { [flag]: word })
        }
        for (const word of ['', ...words, ...dashed]) {
          const { flags, operands } = read(program, [command.name, `--${flag}=${word}`, 'x'])
          assert.deepEqual([flags, operands], [{ [flag]: isRepeatable ? [word] : word }, ['x']])
        }
      }
    })

    it(`of ${program.name} ${command.name} provides texts and paths as typed, also from variables`, () => {
      const { prefix } = program
      for (const [flag, { takes }] of withValues(command)) {
        if (flag === 'config' || !/^(?:a text|a path|the path of)/u.test(takes)) continue
        for (const word of [...words, ...dashed]) {
          const given = { prefix, known: [] }
          const typed = resolve(command.settings, { ...given, flags: { [flag]: word }, env: {} })
          const env = { [`${prefix}_${flag.toUpperCase().replaceAll('-', '_')}`]: word }
          const set = resolve(command.settings, { ...given, flags: {}, env })
          assert.deepEqual([typed[flag], set[flag]], [word, word])
        }
      }
    })
  }

  it('takes the last of several values, and flags before the command', () => {
    assert.deepEqual(read(osp, ['msg', '--user', '1.0', 'bob', '--user=2.0', 'hi']).flags, { user: '2.0' })
    const { command, flags, operands } = read(osp, ['--user', 'send', '--json', 'msg', 'bob', 'send'])
    assert.deepEqual([command.name, flags, operands], ['msg', { user: 'send', json: true }, ['bob', 'send']])
    assert.deepEqual(read(osp, ['listen', '-n5']).flags, { count: '5' })
  })

  it('takes each value of a repeatable flag', () => {
    const { flags } = read(osp, ['send', '--meta', 'a=1', '--meta=b=2=3', 'x'])
    assert.deepEqual(flags, { meta: ['a=1', 'b=2=3'] })
    const metaOf = (given: Partial<Given>) => {
      return resolve(sendCommand.settings, { flags: {}, env: {}, prefix: 'OSP', known: [], ...given }).meta
    }
    const pairs = [
      ['a', '1'],
      ['b', '2=3'],
    ]
    assert.deepEqual(metaOf({ flags }), pairs)
    assert.deepEqual(metaOf({ env: { OSP_META: 'a=1\nb=2=3' } }), pairs)
    assert.deepEqual(metaOf({}), [])
    assert.throws(() => metaOf({ flags: { meta: ['a=', 'b'] } }), {
      message: '--meta cannot be "b": it takes KEY=VALUE',
    })
    assert.throws(() => metaOf({ flags: { meta: ['=b'] } }), { message: '--meta cannot be "=b": it takes KEY=VALUE' })
  })

  it('does not take the word after a switch as its value', () => {
    assert.deepEqual(read(osp, ['send', '--json', 'true']).operands, ['true'])
    assert.deepEqual(read(osp, ['send', '--json=false']).flags, { json: 'false' })
    assert.deepEqual(read(osp, ['send', '--json', '--no-json']).flags, { json: false })
  })
})

spec('a command line that is wrong', (it) => {
  const refused = (program: Program, args: readonly string[]) => {
    try {
      readCommandLine(program, args)
    } catch (error) {
      assert.ok(error instanceof UsageError)
      return error.message
    }
    return assert.fail(`${args.join(' ')} was taken`)
  }

  it('explains how to pass a word that begins with a dash', () => {
    assert.equal(
      refused(osp, ['msg', 'bob', '-1']),
      'unknown flag -1; write an operand that begins with a dash after --',
    )
    assert.equal(
      refused(osp, ['send', 'x', '--as', '-x']),
      '--as takes text that is not empty; if the value begins with a dash, write --as=-x',
    )
    assert.equal(refused(osp, ['send', 'x', '--as']), '--as takes text that is not empty')
    assert.equal(
      refused(osp, ['send', 'x', '--limit-rate', '-1']),
      '--limit-rate takes a size above 0 such as 500k, 10M or 2G, not -1',
    )
    assert.equal(refused(osp, ['listen', '-n']), '-n takes a whole number of at least 1')
  })

  it('suggests only similar names', () => {
    const of = (word: string) => /did you mean (.*)\?$/u.exec(refused(osp, [word]))?.[1]
    const near = {
      sned: 'send',
      mgs: 'msg',
      listne: 'listen',
      lissten: 'listen',
      log: 'login',
      SEND: 'send',
      conti: 'continue',
      contxt: 'context',
    }
    for (const [word, meant] of Object.entries(near)) assert.equal(of(word), meant, word)
    assert.equal(of('version'), '--version')
    for (const word of ['frobnicate', 'x', '', 'foo']) assert.equal(of(word), undefined)
    assert.equal(refused(osp, ['who', '--josn']), 'unknown flag --josn; did you mean --json?')
    assert.equal(refused(osp, ['who', '--colour']), 'unknown flag --colour')
    assert.equal(refused(osp, ['who', '--no-user']), 'unknown flag --no-user')
  })

  it('suggests synonyms', () => {
    const meant: readonly (readonly [Program, args: readonly string[], text: string])[] = [
      [osp, ['delete'], 'unknown command delete; did you mean rm?'],
      [osp, ['help', 'Delete'], 'unknown command Delete; did you mean rm?'],
      [osp, ['list'], 'unknown command list; did you mean ls?'],
      [osp, ['upload'], 'unknown command upload; did you mean send?'],
      [ospd, ['start'], 'unknown command start; did you mean serve?'],
      [ospd, ['download'], 'unknown command download; did you mean "osp get"?'],
      [osp, ['users'], 'unknown command users; did you mean "ospd user"?'],
      [osp, ['send', 'x', '--receipt'], 'unknown flag --receipt; did you mean --wait handled?'],
      [osp, ['msg', 'bob', 'x', '--wait', 'handled'], 'unknown flag --wait; did you mean --receipt?'],
      [osp, ['listen', '--receipt'], 'unknown flag --receipt; did you mean --receipts?'],
    ]
    for (const [program, args, text] of meant) assert.equal(refused(program, args), text)
  })

  it('without a command is checked with the flags of all commands', () => {
    assert.equal(refused(osp, ['--server']), '--server takes HOST:PORT, with an IPv6 address in brackets')
    assert.match(refused(osp, ['--server', 'h:1']), /^specify a command: send, /u)
    assert.equal(refused(osp, ['--servr', 'h:1']), 'unknown flag --servr; did you mean --server?')
    assert.equal(refused(osp, ['completion', '--server', 'h:1']), 'unknown flag --server')
  })

  it('names the first word or flag that is unknown', () => {
    for (const rest of [['--force', 'x'], ['-f'], ['--user'], ['--help'], ['--version']]) {
      assert.equal(refused(osp, ['delete', ...rest]), 'unknown command delete; did you mean rm?')
      assert.equal(refused(ospd, ['--port', '1', 'start', ...rest]), 'unknown command start; did you mean serve?')
    }
    assert.equal(refused(osp, ['--force', 'delete', 'x']), 'unknown flag --force')
    assert.equal(refused(osp, ['rm', '--force', 'x']), 'unknown flag --force')
  })

  it('suggests the command of the other program', () => {
    for (const { name, sibling } of [osp, ospd]) {
      const other = name === 'osp' ? ospd : osp
      const program = name === 'osp' ? osp : ospd
      assert.deepEqual([sibling.name, sibling.commands], [other.name, other.commands.map((each) => each.name)])
      for (const word of sibling.commands) {
        const text = `unknown command ${word}; did you mean "${other.name} ${word}"?`
        assert.equal(refused(program, [word]), text)
        assert.equal(refused(program, ['help', word]), text)
      }
    }
  })

  it('shows an empty word in quotes', () => {
    assert.equal(refused(osp, ['']), 'unknown command ""')
    assert.equal(refused(osp, ['help', 'send', '']), 'help takes one COMMAND; remove ""')
    assert.equal(refused(ospd, ['completion', '']), 'completion takes no operand ""')
  })

  it('says what is wrong with the address of a server', () => {
    const wrong = {
      'h:99999': 'the port 99999 is above 65535',
      'h:0': 'a server cannot have port 0',
      'h:x': 'the port x is not a number',
      'h:': 'the port is missing after the colon',
      ':1': 'the host is missing',
      'http://h:1': 'remove http://',
      'h:1/x': 'it contains a path; remove the path',
      '::1': 'an IPv6 address must be in brackets, such as [::1]:6682',
      'fe80::1:6682': 'an IPv6 address must be in brackets, such as [::1]:6682',
    }
    for (const [server, why] of Object.entries(wrong)) {
      const given = { flags: { server }, env: {}, prefix: 'OSP', known: [] }
      const message = `--server cannot be "${server}": ${why}; it takes HOST:PORT, with an IPv6 address in brackets`
      assert.throws(() => resolve(whoCommand.settings, given), { message })
    }
  })

  it('takes one command, and help for one command', () => {
    assert.match(refused(osp, []), /^specify a command: send, .*, completion, help$/u)
    assert.equal(refused(osp, ['help', 'sned']), 'unknown command sned; did you mean send?')
    assert.equal(refused(osp, ['help', 'send', 'msg']), 'help takes one COMMAND; remove msg')
    assert.equal(refused(ospd, ['completion', 'x']), 'completion takes no operand x')
  })
})

spec('help', (it) => {
  it('is requested with a word or a flag, for the program or a command', () => {
    for (const args of [['help'], ['--help'], ['-h'], ['help', 'help'], ['help', 'completion']]) {
      assert.deepEqual(readCommandLine(ospd, args), { asks: 'help', command: undefined })
    }
    for (const args of [
      ['help', 'serve'],
      ['serve', '--help'],
      ['--help', 'serve'],
      ['serve', '-qh', '--port', '1', 'x'],
    ]) {
      assert.deepEqual(readCommandLine(ospd, args), { asks: 'help', command: serveCommand })
    }
    assert.deepEqual(readCommandLine(ospd, ['serve', '--version']), { asks: 'version' })
  })
})
