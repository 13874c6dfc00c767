import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import packageJson from '../package.json' with { type: 'json' }
import { place } from './support/commands.ts'
import { root } from './support/source.ts'
import { spec } from './support/spec.ts'

/** Runs `npm pack` without the scripts of the package, which would build it while other specs use it. */
function pack(...args: readonly string[]): { readonly filename: string; readonly files: readonly string[] } {
  const all = ['pack', '--json', '--ignore-scripts', ...args]
  const { stdout, stderr } = spawnSync('npm', all, { cwd: root, encoding: 'utf8', shell: process.platform === 'win32' })
  const [packed] = JSON.parse(stdout || '[]') as { filename: string; files: { path: string }[] }[]
  assert.ok(packed, stderr)
  return { filename: packed.filename, files: packed.files.map(({ path }) => path) }
}

/** The files listed in package.json. */
const entries = [
  ...Object.values(packageJson.bin),
  ...Object.values(packageJson.exports).flatMap((entry) =>
    typeof entry === 'string' ? [entry] : Object.values(entry),
  ),
].map((path) => path.replace(/^\.\//u, ''))

spec('the package', (it) => {
  it('has at most 800 files, and no sources, source maps or specs', () => {
    const { files } = pack('--dry-run')
    assert.ok(files.length <= 800, `${files.length} files`)
    const strange = files.filter(
      (path) => !/^(?:dist\/(?:bin|lib)\/|docs\/|[^/]+$)/u.test(path) || /\.map$/u.test(path),
    )
    assert.deepEqual(strange, [])
    assert.deepEqual(
      files.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts')),
      [],
    )
    for (const path of entries) assert.ok(files.includes(path), path)
  })

  it('has the fields that npm needs to publish it with provenance', () => {
    const { repository, publishConfig, license } = packageJson
    assert.match(repository.url, /^git\+https:\/\/.+\.git$/u)
    assert.deepEqual(publishConfig, { access: 'public', provenance: true })
    assert.equal(license, 'MIT')
  })

  it('works when installed from its tarball', async () => {
    await using at = await place()
    const { filename } = pack('--pack-destination', at.path)
    const packages = join(at.path, 'node_modules')
    const unpacked = join(packages, 'ospd')
    mkdirSync(unpacked, { recursive: true })
    assert.equal(spawnSync('tar', ['-xzf', join(at.path, filename), '-C', unpacked, '--strip-components=1']).status, 0)
    for (const name of Object.keys(packageJson.dependencies)) {
      symlinkSync(join(root, 'node_modules', name), join(packages, name))
    }
    for (const path of Object.values(packageJson.bin)) {
      const { stdout, status } = spawnSync(process.execPath, [join(unpacked, path), '--version'], { encoding: 'utf8' })
      assert.deepEqual([stdout.trim(), status], [packageJson.version, 0])
    }
    const names = Object.keys(packageJson.exports).filter((name) => !name.endsWith('.json'))
    await at.write('all.mjs', names.map((name) => `import '${name.replace('.', 'ospd')}'\n`).join(''))
    const { status, stderr } = spawnSync(process.execPath, [join(at.path, 'all.mjs')], { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  })

  it('adds at most 60 KiB to the bundle of a client', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, '.ci/size.js'), '60'], {
      encoding: 'utf8',
    })
    assert.equal(status, 0, stderr)
    assert.match(stdout, /^import \{ connect \} from 'ospd': \d+\.\d KiB gzip$/mu)
  })
})
