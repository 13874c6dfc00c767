// Compiles lib/ to dist/lib/, and the commands of bin/ with all of ours that they need to a few files of dist/bin/, which
// Node loads in half the time of three hundred. Packages are compiled into them as well, with their licenses beside them, unless
// they have more than JavaScript. A module that is imported dynamically begins a file of its own: nothing
// of it, nor of the packages it needs, is read before. With --if-possible it does nothing where the compilers are not installed,
// as under `npm ci --omit=dev`. A running program never misses a file of dist/: what no source stands for any more is
// removed afterwards, not everything before.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const dist = join(root, 'dist')
const compiler = join(root, 'node_modules/typescript/bin/tsc')

// These packages load what is no JavaScript from their own directories.
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

// Before TypeScript 5.7 the type has no parameter; where it is inferred the compiler writes one.
function forOlderCompilers(path) {
  const types = readFileSync(path, 'utf8')
  const plain = types.replaceAll('Uint8Array<ArrayBufferLike>', 'Uint8Array')
  if (plain !== types) writeFileSync(path, plain)
}

async function bundle(commands) {
  const { build } = await import('esbuild')
  const { metafile } = await build({
    entryPoints: commands.map((path) => path.replace(dist, root).replace(/\.js$/u, '.ts')),
    absWorkingDir: root,
    outdir: join(dist, 'bin'),
    bundle: true,
    splitting: true,
    chunkNames: 'parts/[name]-[hash]',
    external,
    // Packages of CommonJS require modules of Node.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
    metafile: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    logLevel: 'warning',
  })
  writeFileSync(join(dist, 'bin/LICENSES.txt'), licensesOf(Object.keys(metafile.inputs)))
}

// The packages that are compiled into the commands want their licenses to go with them.
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
