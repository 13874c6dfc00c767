// Bundles `import { connect } from 'ospd'` as a client does, and prints how large it is after minifying and gzip: the part that
// is loaded at start, and each part that is loaded on first use. With a number of KiB as argument, exits with 1 if the first
// part is larger.
import { resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const root = resolve(import.meta.dirname, '..')
const { outputFiles, metafile } = await build({
  stdin: { contents: "export { connect } from 'ospd'", resolveDir: root },
  absWorkingDir: root,
  outdir: 'size',
  bundle: true,
  minify: true,
  splitting: true,
  format: 'esm',
  platform: 'browser',
  // Only a server uses this package.
  external: ['node:*', 'classic-level'],
  metafile: true,
  write: false,
  logLevel: 'warning',
})

const sizes = new Map(outputFiles.map(({ path, contents }) => [path, gzipSync(contents).length]))
const entry = Object.keys(metafile.outputs).find((path) => path.endsWith('/stdin.js'))
const atStart = partsOf(entry)
const startBytes = sum(atStart)
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`
console.log(`import { connect } from 'ospd': ${kib(startBytes)} gzip`)
console.log(`on first use: ${kib(sum(Object.keys(metafile.outputs)) - startBytes)} gzip`)

const mostKiB = Number(process.argv[2] ?? Number.POSITIVE_INFINITY)
if (startBytes > mostKiB * 1024) {
  console.error(`the client is larger than ${mostKiB} KiB`)
  process.exitCode = 1
}

// The file, and those that it imports statically.
function partsOf(path, found = new Set()) {
  if (found.has(path)) return found
  found.add(path)
  for (const { path: imported, kind, external } of metafile.outputs[path].imports) {
    if (kind === 'import-statement' && !external) partsOf(imported, found)
  }
  return found
}

function sum(paths) {
  return [...paths].reduce((bytes, path) => bytes + sizes.get(resolve(root, path)), 0)
}
