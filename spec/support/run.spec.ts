import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type RunOptions, runSpecs } from './runner.ts'
import { spec } from './spec.ts'

const door = new URL('./spec.ts', import.meta.url).href

const good = "spec('x', (it) => { it('holds', () => {}); it('holds too', async () => {}) })"

interface Ran {
  readonly code: number
  readonly output: string
  readonly lastLine: string | undefined
}

/** Writes spec files that import the entry point, and runs the runner on them. */
async function runOn(files: Record<string, string>, more: Partial<RunOptions> = {}): Promise<Ran> {
  const directory = await mkdtemp(join(tmpdir(), 'ospd-run-'))
  try {
    await writeFile(join(directory, 'package.json'), '{ "type": "module" }')
    for (const [name, code] of Object.entries(files)) {
      await writeFile(join(directory, name), `import { spec } from '${door}'\n${code}\n`)
    }
    const lines: string[] = []
    const code = await runSpecs({ directory, print: (text) => lines.push(text), ...more })
    return { code, output: lines.join('\n'), lastLine: lines.at(-1) }
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** Checks that a file with this content is one failure of the whole file, reported with `why`. */
async function failsAs(why: RegExp, code: string, more: Partial<RunOptions> = {}): Promise<void> {
  const ran = await runOn({ 'bad.spec.ts': code }, more)
  assert.match(ran.output, why)
  assert.match(ran.lastLine ?? '', /^\d passed, 1 failed$/u)
  assert.equal(ran.code, 1)
}

spec('the runner', (it) => {
  it('passes if every test passes, and adds up the files', async () => {
    const ran = await runOn({ 'a.spec.ts': good, 'b.spec.ts': good, 'helper.ts': 'throw new Error()' })
    assert.equal(ran.lastLine, '4 passed, 0 failed')
    assert.equal(ran.code, 0)
  })

  it('counts skipped tests and prints the reason', async () => {
    const skipping = "spec('x', (it) => { it('holds', () => {}); it.skip('needs root', 'not root here') })"
    const ran = await runOn({ 'a.spec.ts': skipping })
    assert.equal(ran.lastLine, '1 passed, 0 failed, 1 skipped')
    assert.equal(ran.code, 0)
  })

  it('fails if a test fails, and prints the output of the file', async () => {
    const bad =
      "console.log('seen'); spec('x', (it) => { it('holds', () => {}); it('is false', () => { throw new Error('why') }) })"
    const ran = await runOn({ 'bad.spec.ts': bad, 'good.spec.ts': good })
    assert.match(ran.output, /seen.*is false.*why/su)
    assert.equal(ran.lastLine, '3 passed, 1 failed')
    assert.equal(ran.code, 1)
  })

  it('runs only the files whose path matches', async () => {
    const ran = await runOn({ 'a.spec.ts': good, 'b.spec.ts': 'throw new Error()' }, { patterns: ['/a.spec'] })
    assert.equal(ran.lastLine, '2 passed, 0 failed')
    assert.equal(ran.code, 0)
  })

  it('runs the long files before the others if it runs all', async () => {
    const files = { 'a.spec.ts': good, 'b.long.spec.ts': good }
    assert.match((await runOn(files, { all: true, atOnce: 1 })).output, /b\.long\.spec\.ts.*a\.spec\.ts/su)
    assert.equal((await runOn(files)).lastLine, '2 passed, 0 failed')
    assert.equal((await runOn(files, { long: true })).lastLine, '2 passed, 0 failed')
  })

  it('fails if no file matches', async () => {
    const ran = await runOn({ 'a.spec.ts': good }, { patterns: ['nowhere'] })
    assert.equal(ran.lastLine, '0 passed, 0 failed')
    assert.equal(ran.code, 1)
  })

  it('fails if a test does not finish in time', () =>
    failsAs(
      /did not end within 50 ms/u,
      "spec('x', (it) => it('hangs', () => new Promise(() => {}), { limitMs: 50 }))",
    ))

  it('fails if a file never ends', () =>
    failsAs(/did not end within 600 ms/u, "spec('x', (it) => it('hangs', () => { for (;;); }))", { limitMs: 600 }))

  it('fails if a file keeps something open after its tests', () =>
    failsAs(/did not end within 600 ms/u, `setInterval(() => {}, 1000); ${good}`, { limitMs: 600 }))

  it('fails if a file throws while it is imported', () => failsAs(/no such thing/u, "throw new Error('no such thing')"))

  it('fails if a file does not compile', () => failsAs(/before its tests had run/u, "import './nowhere.ts'"))

  it('fails if a file declares no suite', () => failsAs(/before its tests had run/u, ''))

  it('fails if a suite has no tests', () => failsAs(/has no tests/u, "spec('x', () => {})"))

  it('fails if a file exits with 0 before its tests are run', () =>
    failsAs(/before its tests had run/u, `${good}\nprocess.exit(0)`))

  it('fails if a test exits with 0', () =>
    failsAs(/before its tests had run/u, "spec('x', (it) => it('exits', () => process.exit(0)))"))

  it('fails if an error is thrown after the tests have run', () =>
    failsAs(/although its tests passed/u, `${good}\nsetTimeout(() => { throw new Error('late') }, 300)`))

  it('fails if a rejection is not handled', () =>
    failsAs(/not handled/u, `${good}\nvoid Promise.reject(new Error('not handled'))`))

  it('fails if a value that is not an error is thrown', () =>
    failsAs(/not an error was thrown: undefined/u, "spec('x', (it) => it('throws', () => { throw undefined }))"))

  it('fails if a suite is declared after the first tests have run', () =>
    failsAs(/declared after the tests had begun/u, `${good}\nawait new Promise((go) => setTimeout(go, 100))\n${good}`))

  it('fails if a test is declared too late', () =>
    failsAs(
      /declared too late/u,
      "spec('x', async (it) => { it('holds', () => {}); await 0; it('is lost', () => {}) })",
    ))

  it('ends all processes that a file has started', async () => {
    const server = createServer().listen(0, '127.0.0.1').unref()
    await once(server, 'listening')
    const gone = once(server, 'connection').then(([socket]) => once(socket.resume(), 'close'))
    const { port } = server.address() as AddressInfo
    const connect = `net.connect(${port}, '127.0.0.1', () => console.log('connected'))`
    const child = `const child = spawn(process.execPath, ['-e', "${connect}"], { stdio: ['ignore', 'pipe', 'ignore'] })`
    const connected = 'child.unref(); await once(child.stdout, "data"); child.stdout.destroy()'
    const orphan = `spec('x', (it) => it('holds', async () => { ${child}; ${connected} }))`
    const imports = "import { spawn } from 'node:child_process'\nimport { once } from 'node:events'\n"
    const ran = await runOn({ 'a.spec.ts': `${imports}${orphan}` })
    assert.equal(ran.lastLine, '1 passed, 0 failed')
    await gone
  })
})
