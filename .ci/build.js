// Compiles lib/ to dist/lib/, and bundles each command of bin/ with its modules and the npm packages into one file of
// dist/bin/parts/, which Node loads in less than half the time of three hundred. LICENSES.txt contains the licenses of these
// packages. A file of an earlier build is removed after the new ones are written, so that a running program never misses one.
//
// With --if-possible does nothing if the compilers are missing, as under `npm ci --omit=dev`.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const dist = join(root, 'dist')
const compiler = join(root, 'node_modules/typescript/bin/tsc')

// The banner comes before the 'use strict' of esbuild, which would then have no effect, so the banner has its own.
const addressOfModule = "'use strict'; const moduleUrl = require('node:url').pathToFileURL(__filename).href;"

// The build wraps the source in the function that bin/common/launch.ts calls. Node would copy the source to wrap it.
const asFunction = {
  banner: { js: `(function (module, exports, require, __filename, __dirname) { ${addressOfModule}` },
  footer: { js: '})' },
}

// Yargs is in a file of its own, since only help and completion use it.
const separateYargs = {
  name: 'separate-yargs',
  setup({ onResolve }) {
    onResolve({ filter: /^yargs$/ }, ({ kind }) =>
      kind === 'entry-point' ? undefined : { path: './yargs.js', external: true },
    )
  },
}

if (existsSync(compiler) || !process.argv.includes('--if-possible')) await build()

async function build() {
  const began = Date.now()
  const { status } = spawnSync(process.execPath, [compiler, '-p', root], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
  for (const path of outputs()) if (path.endsWith('.d.ts')) forOlderCompilers(path)
  const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const commands = Object.values(bin).map((path) => join(root, path))
  await bundle(commands)
  for (const command of commands) chmodSync(command, 0o755)
  for (const path of outputs()) if (statSync(path).mtimeMs < began - 1000) rmSync(path)
}

// TypeScript before 5.7 does not know the type parameter, which the compiler writes for inferred types.
function forOlderCompilers(path) {
  const types = readFileSync(path, 'utf8')
  const plain = types.replaceAll('Uint8Array<ArrayBufferLike>', 'Uint8Array')
  if (plain !== types) writeFileSync(path, plain)
}

// CommonJS, which Node loads faster than ES modules, and for which it can store compiled code (bin/common/codeCache.ts).
async function bundle(commands) {
  const names = commands.map((path) => basename(path, '.js'))
  const inputs = await Promise.all([
    ...names.map((name) => bundled(`bin/${name}.ts`, `${name}.js`)),
    ...names.map((name) => bundled(`bin/${name}Program.ts`, `parts/${name}.js`, asFunction)),
    bundled('yargs', 'parts/yargs.js', { footer: { js: 'module.exports = module.exports.default' } }),
  ])
  writeFileSync(join(dist, 'bin/LICENSES.txt'), licensesOf(inputs.flat()))
  writeFileSync(join(dist, 'bin/package.json'), '{ "type": "commonjs" }\n')
}

async function bundled(entry, file, more = {}) {
  const { build } = await import('esbuild')
  const { metafile } = await build({
    entryPoints: [entry],
    absWorkingDir: root,
    outfile: join(dist, 'bin', file),
    bundle: true,
    // classic-level loads its native addon from its own directory; pg is an optional peer dependency, for clusters.
    external: ['classic-level', 'pg'],
    plugins: [separateYargs],
    define: { 'import.meta.dirname': '__dirname', 'import.meta.url': 'moduleUrl' },
    banner: { js: addressOfModule },
    supported: { 'dynamic-import': false },
    mainFields: ['module', 'main'],
    metafile: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20.19',
    logLevel: 'warning',
    ...more,
  })
  return Object.keys(metafile.inputs)
}

// Returns the licenses of the packages that are part of the bundles.
function licensesOf(paths) {
  const packages = new Set(paths.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/u.exec(path) ?? []))
  const texts = [...packages].sort().map((path) => {
    const file = readdirSync(join(root, path)).find((name) => /^licen[cs]e/iu.test(name))
    if (!file) throw new Error(`${path} has no license`)
    return `${path.replace(/^.*node_modules\//u, '')}\n\n${readFileSync(join(root, path, file), 'utf8').trim()}\n`
  })
  return texts.join('\n----\n\n')
}

function outputs() {
  return readdirSync(dist, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}
