// Compiles lib/ and bin/ to dist/. With --if-possible it does nothing where the compiler is not installed,
// as under `npm ci --omit=dev`. A running program never misses a file of dist/: what no source stands for
// any more is removed afterwards, not everything before.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const dist = join(root, 'dist')
const compiler = join(root, 'node_modules/typescript/bin/tsc')

if (existsSync(compiler) || !process.argv.includes('--if-possible')) build()

function build() {
  const began = Date.now()
  const { status } = spawnSync(process.execPath, [compiler, '-p', root], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
  for (const path of outputs()) {
    if (statSync(path).mtimeMs < began - 1000) rmSync(path)
    else if (/[\\/]bin[\\/]\w+\.js$/u.test(path)) chmodSync(path, 0o755)
  }
}

function outputs() {
  return readdirSync(dist, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}
