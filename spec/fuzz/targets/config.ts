import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commonOptions } from '../../../bin/common/commonOptions.ts'
import { resolve, variableOf } from '../../../bin/common/settings.ts'
import { stateDirectoryOf } from '../../../bin/common/stateDirectory.ts'
import { UsageError } from '../../../bin/common/usage.ts'
import { listenSettings } from '../../../bin/listen/listen.ts'
import { sendSettings } from '../../../bin/send/send.ts'
import { limitsOf, serveSettings } from '../../../bin/serve/settings.ts'
import { connectOptions } from '../../../lib/client/options.ts'
import { defaultLimits, type Limits, limitsWith } from '../../../lib/limits.ts'
import { checkOptions } from '../../../lib/options.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'
import { coded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { changedJson, jsonLike } from '../json.ts'
import { mutated } from '../mutate.ts'
import type { Pieces, Target } from '../target.ts'

const programs = [
  { ...serveSettings, config: serveSettings.data },
  { ...sendSettings, config: commonOptions.state },
  { ...listenSettings, config: commonOptions.state },
]
const texts = ['0', '1', '-1', '5', '1.5', '1e9', '9'.repeat(9), '9'.repeat(400), '10M', '500ms', '7d', '0.1ms', 'true']
const words = ['yes', 'reject', 'a', ' ', '::1', '[::1]:80', 'h:99999', 'ü:1', '999999T', `${'9'.repeat(310)}d`, 'NaN']

/** Settings of the commands from the environment, flags and a file, and limits and options of the library. */
export async function configTarget(): Promise<Target> {
  const directory = await temporaryDirectory()
  return {
    make,
    run: (pieces) => run(join(directory.path, 'config.json'), pieces),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
}

/** The program; the file; limits as JSON; then `name=value` of the environment, or `--name=value` of a flag. */
function make(draw: Draw): Pieces {
  const which = draw.below(programs.length)
  const names = Object.keys(programs[which] ?? {})
  const value = () => draw.pick([...texts, ...words])
  const chosen = draw.some(0, 3, () => [draw.pick(names), draw.once(2) ? value() : Number(value())] as const)
  const given = draw.some(0, 3, () => {
    const bytes = Buffer.from(`${draw.pick(['', '--'])}${draw.pick(names)}=${value()}`)
    return draw.once(4) ? mutated(bytes, draw) : bytes
  })
  const limits = changedJson(Object.fromEntries(draw.some(0, 3, () => anyLimit(draw))), draw)
  return [Uint8Array.of(which), jsonLike(Object.fromEntries(chosen), draw), jsonLike(limits, draw), ...given]
}

const anyLimit = (draw: Draw) =>
  [draw.pick(Object.keys(defaultLimits)), draw.pick([0, 1, 50, 100, 0xffff, 2 ** 32, 1e15, -1, 0.5])] as const

async function run(path: string, [program, file, limits, ...given]: Pieces): Promise<void> {
  const [which = 0] = program ?? []
  await checkLimits(jsonOf(limits))
  const settings = programs[which] ?? {}
  const known = Object.keys(settings)
  writeFileSync(path, file ?? '')
  const flags: Record<string, unknown> = { config: path }
  const env: Record<string, string> = {}
  for (const piece of given) {
    const [, dashes, name = '', value = ''] = /^(--)?([^=]*)=(.*)$/su.exec(Buffer.from(piece).toString()) ?? []
    if (dashes) flags[name] = value
    else env[variableOf('OSP', name)] = value
  }
  const values = resolved(() => resolve(settings, { flags: { ...flags, config: path }, env, prefix: 'OSP', known }))
  if (!values) return
  if (which === 0) await coded(() => limitsWith(limitsOf(values as object)), 'usage')
  else checkClient(values as { server: { host: string; port: number }; 'retry-for': number; 'limit-rate'?: number })
}

/** Returns the settings, or undefined for a UsageError. */
function resolved<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    assert.ok(error.message.length > 0)
    return undefined
  }
}

async function checkLimits(chosen: unknown): Promise<void> {
  const limits = await coded(() => limitsWith(chosen as Partial<Limits>), 'usage')
  for (const value of Object.values(limits ?? {})) assert.ok(Number.isSafeInteger(value) && value >= 0)
}

/** Checks that accepted values can be used. */
function checkClient(values: {
  server: { host: string; port: number }
  'retry-for': number
  'limit-rate'?: number
}): void {
  const { server, 'retry-for': retryForMs, 'limit-rate': limitRate } = values
  assert.ok(server.port >= 0 && server.port < 65_536)
  assert.ok(stateDirectoryOf({ state: '/state', server }, 'alice').startsWith('/state/'))
  checkOptions('connect', connectOptions, { user: 'alice', retryForMs, limitRate })
}

function jsonOf(bytes: Uint8Array | undefined): unknown {
  try {
    return JSON.parse(Buffer.from(bytes ?? []).toString())
  } catch {
    // Callers of the library pass values, not text.
    return {}
  }
}
