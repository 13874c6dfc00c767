// Compiles lib/ to dist/lib/, and bundles each command of bin/ with its modules into a few files of dist/bin/, which Node
// loads in less than half the time of three hundred. The bundles contain the npm packages too, with their licenses in LICENSES.txt,
// except packages that load files of their own. A dynamic import starts a separate bundle, which is read on first use.
// A file of an earlier build is removed after the new ones are written, so that a running program never misses one.
//
// With --if-possible does nothing if the compilers are missing, as under `npm ci --omit=dev`.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const dist = join(root, 'dist')
const compiler = join(root, 'node_modules/typescript/bin/tsc')

// These packages load files other than JavaScript from their own directories.
const external = ['classic-level', 'hash-wasm']

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

async function bundle(commands) {
  // Each command by itself, so that it loads no module that only the other one needs.
  const inputs = await Promise.all(commands.map(bundled))
  writeFileSync(join(dist, 'bin/LICENSES.txt'), licensesOf(inputs.flat()))
}

async function bundled(command) {
  const { build } = await import('esbuild')
  const { metafile } = await build({
    entryPoints: [command.replace(dist, root).replace(/\.js$/u, '.ts')],
    absWorkingDir: root,
    outdir: join(dist, 'bin'),
    bundle: true,
    splitting: true,
    chunkNames: 'parts/[name]-[hash]',
    external,
    // CommonJS packages call require() for modules of Node.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
    metafile: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    logLevel: 'warning',
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
