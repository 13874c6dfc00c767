import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { root, type Source, sourceOf, sourcesOf } from './support/source.ts'
import { spec } from './support/spec.ts'

/** Phrases that technical English avoids: pronouns without a named subject, and metaphors for states. */
const phrases =
  /\b(?:whoever|whom|somebody|someone|nobody|anybody|everybody|so many|one's own|what is|told|untold|hungry|starved)\b|(?<!\b(?:users?|senders?|recipients?|operators?|callers?|owners?|members?|readers?|maintainers?|people|person|osp) |, )\bwho\b/giu

const text = /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\/[^\n]*|\/\*.*?\*\//gsu

/** Code inside a comment or a template, which is not prose. */
const code = /`[^`\n]*`|\$\{[^{}]*\}/gu

/** Returns each phrase to avoid in the comments and sentences of these files, as `path:line: phrase: context`. */
function wordingFaults(sources: readonly Source[]): string[] {
  return sources.flatMap((source) =>
    [...source.text.matchAll(text)].flatMap((found) => {
      const [whole, string] = found
      if (string !== undefined && !string.includes(' ')) return []
      return faultsOf(source, found.index, string === undefined ? whole : string.slice(1, -1))
    }),
  )
}

function faultsOf({ path, text }: Source, from: number, prose: string): string[] {
  const plain = prose.replace(code, (match) => match.replace(/[^\n]/gu, '_')).replace(/\n[ \t]*(?:\*|\/\/)?/gu, blank)
  return [...plain.matchAll(phrases)].map(({ 0: phrase, index }) => {
    const line = text.slice(0, from + index).split('\n').length
    const context = prose.slice(Math.max(0, index - 30), index + phrase.length + 30).replace(/\s+/gu, ' ')
    return `${path}:${line}: ${phrase}: ${context}`
  })
}

/** Keeps the length of the text, so that positions are those in the file. The line break is kept for counting lines. */
const blank = (match: string) => ' '.repeat(match.length)

const statement = /\b(?:import|export)\s+(type\s)?([^'";]*?)\bfrom\s*['"](\.[^'"\n]+)['"]/gu

/**
 * Returns the import cycles, each as the sorted paths of its files. A type-only import within one folder does not
 * count.
 */
function importCycles(sources: readonly Source[]): string[][] {
  const targets = new Map(sources.map((source) => [source.path, targetsOf(source)]))
  const reachable = new Map(sources.map(({ path }) => [path, reachableFrom(path, targets)]))
  const cycles = sources.flatMap(({ path }) => {
    const cycle = [...(reachable.get(path) ?? [])].filter((other) => reachable.get(other)?.has(path)).sort()
    return cycle[0] === path ? [cycle] : []
  })
  return cycles.filter((cycle) => cycle.length > 1)
}

function targetsOf({ path, code }: Source): string[] {
  const folder = posix.dirname(path)
  return [...code.matchAll(statement)].flatMap(([, type, names = '', from = '']) => {
    const target = posix.join(folder, from)
    const isTypeOnly = type !== undefined || isOfTypes(names)
    return isTypeOnly && posix.dirname(target) === folder ? [] : [target]
  })
}

/** Whether each name in the braces has its own `type`. */
function isOfTypes(names: string): boolean {
  const [, list] = /^\s*\{(.*)\}\s*$/su.exec(names) ?? []
  const each = list?.split(',').filter((name) => name.trim() !== '') ?? []
  return each.length > 0 && each.every((name) => name.trim().startsWith('type '))
}

function reachableFrom(path: string, targets: ReadonlyMap<string, readonly string[]>): Set<string> {
  const found = new Set<string>()
  const open = [path]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const target of targets.get(next) ?? []) {
      if (found.has(target)) continue
      found.add(target)
      open.push(target)
    }
  }
  return found
}

/** The folders of lib/ with their permitted imports. `base` is errors.ts, limits.ts, names.ts, …; `entry` is the entry points. */
const layers = {
  base: ['zod/mini'],
  wire: ['base'],
  core: ['base', 'wire'],
  ports: ['base', 'wire'],
  runtime: ['base', 'wire', 'core', 'ports', 'eventemitter3'],
  server: ['base', 'wire', 'core', 'ports', 'runtime', 'zod/mini'],
  client: ['base', 'wire', 'core', 'ports', 'runtime', 'zod/mini'],
  storage: ['base', 'wire', 'core', 'ports', 'runtime', 'zod/mini'],
  adapters: [
    'base',
    'wire',
    'core',
    'ports',
    'runtime',
    'storage',
    'node:',
    'classic-level',
    'hash-wasm',
    'pg',
    'zod/mini',
    'zod/v4/locales/en.js',
  ],
  testing: ['base', 'wire', 'ports', 'node:'],
  entry: ['base', 'wire', 'core', 'ports', 'runtime', 'server', 'client', 'adapters', 'testing'],
} as const

type Layer = keyof typeof layers

/** Layers whose code runs unchanged in a browser and in the simulator. */
const portable: readonly Layer[] = ['wire', 'core', 'ports', 'runtime', 'server', 'client']

const lib = sourcesOf('lib')
const bin = sourcesOf('bin')
const examples = sourcesOf('examples')
const specs = sourcesOf('spec')

function layerOf(path: string): Layer {
  const [, name, below] = path.split('/')
  if (below !== undefined) return name as Layer
  return /^(?:errors|limits|names|nameSchemas|options|origins)\.ts$/u.test(name ?? '') ? 'base' : 'entry'
}

/** Returns the target of an import: a layer of lib/, `node:`, another file, or a package. */
function targetOf(imported: string): string {
  if (imported.startsWith('lib/')) return layerOf(imported)
  if (imported.startsWith('node:')) return 'node:'
  return imported
}

/** Returns the imports of these files that `may` does not permit, as `path: import`. */
function strayImports(sources: readonly Source[], may: (target: string, from: Source) => boolean): string[] {
  return sources.flatMap((source) =>
    source.imports
      .filter((imported) => !may(targetOf(imported), source))
      .map((imported) => `${source.path}: ${imported}`),
  )
}

const exported =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:const|let|function\*?|class|interface|type|enum) (\w+)/gmu

/** Returns each name that several of these files declare and export, as `name: paths`. */
function clashingExports(sources: readonly Source[]): string[] {
  const declaring = new Map<string, Set<string>>()
  for (const { path, code } of sources) {
    for (const [, name = ''] of code.matchAll(exported)) {
      declaring.set(name, (declaring.get(name) ?? new Set()).add(path))
    }
  }
  return [...declaring]
    .filter(([, paths]) => paths.size > 1)
    .map(([name, paths]) => `${name}: ${[...paths].join(', ')}`)
}

/** Returns the matches in the code of these files, as `path: match`. */
function found(sources: readonly Source[], pattern: RegExp): string[] {
  return sources.flatMap(({ path, code }) => (code.match(pattern) ?? []).map((match) => `${path}: ${match.trim()}`))
}

/** Returns the tracked files and folders at the top of the repository; other files may exist beside them. */
function trackedAtTheTop(): string[] | undefined {
  const { status, stdout } = spawnSync('git', ['ls-files'], { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 24 })
  return status === 0
    ? [...new Set(stdout.split('\n').map((path) => path.split('/')[0] ?? ''))].filter(Boolean)
    : undefined
}

const inLayers = (names: readonly Layer[]) => lib.filter(({ path }) => names.includes(layerOf(path)))

spec('the folders of lib/', (it) => {
  it('are known to this spec', () => {
    const unknown = lib.filter(({ path }) => !(layerOf(path) in layers))
    assert.deepEqual(
      unknown.map(({ path }) => path),
      [],
    )
  })

  it('import only from the layers below them', () => {
    const stray = strayImports(lib, (target, { path }) => {
      const layer = layerOf(path)
      return target === layer || (layers[layer] as readonly string[]).includes(target)
    })
    assert.deepEqual(stray, [])
  })

  it('import the client library of the database in one folder only', () => {
    const folder = 'lib/adapters/postgres/'
    const stray = strayImports(lib, (target, { path }) => target !== 'pg' || path.startsWith(folder))
    assert.deepEqual(stray, [])
  })

  it('use no clock, timer, randomness or Node module if they are portable', () => {
    const pattern =
      /\b(?:setTimeout|setInterval|setImmediate|Date\.now|Math\.random|performance|getRandomValues|process|Buffer|require)\b|\bnew Date\(\)/gu
    assert.deepEqual(found(inLayers(portable), pattern), [])
  })

  it('are synchronous if they contain the rules', () => {
    assert.deepEqual(found(inLayers(['wire', 'core']), /\b(?:async|await|Promise)\b/gu), [])
  })

  it('contain no executable code if they contain the ports', () => {
    assert.deepEqual(found(inLayers(['ports']), /^(?:export )?(?:const|let|function|class)\b.*$/gmu), [])
  })

  it('have no module-level state', () => {
    assert.deepEqual(found(lib, /^(?:export )?(?:let|var)\b.*$/gmu), [])
  })

  it('export names explicitly', () => {
    assert.deepEqual(found([...lib, ...bin], /\bexport\s*\*/gu), [])
  })
})

spec('commands and examples', (it) => {
  const isPackage = (target: string) => target === 'ospd' || target.startsWith('ospd/')

  it('in bin/ use only what the package exports', () => {
    const allowed = ['node:', 'yargs', 'cli-progress', 'zod/mini']
    const stray = strayImports(
      bin,
      (target) => isPackage(target) || target.startsWith('bin/') || allowed.includes(target),
    )
    assert.deepEqual(stray, [])
  })

  it('in examples/ use only the package and Node', () => {
    const stray = strayImports(examples, (target) => isPackage(target) || target === 'node:')
    assert.deepEqual(stray, [])
  })
})

spec('specs', (it) => {
  it('import uvu in one file only', () => {
    const entry = 'spec/support/spec.ts'
    assert.deepEqual(
      strayImports(specs, (target, { path }) => !/^uvu\b/u.test(target) || path === entry),
      [],
    )
  })
})

spec('the repository', (it) => {
  it('has no file of more than 500 lines', () => {
    const long = [...lib, ...bin, ...examples, ...specs].filter(({ text }) => text.trimEnd().split('\n').length > 500)
    assert.deepEqual(
      long.map(({ path }) => path),
      [],
    )
  })

  const tracked = trackedAtTheTop()
  if (!tracked) it.skip('has only known files and folders at its top', 'git is missing, or this is not a clone')
  else
    it('has only known files and folders at its top', () => {
      const known = [
        'package.json',
        'package-lock.json',
        'tsconfig.json',
        'biome.json',
        'knip.json',
        'lib',
        'bin',
        'spec',
        'examples',
        'docs',
        'CHANGELOG.md',
        'CONTRIBUTING.md',
        'README.md',
        'LICENSE',
      ]
      assert.deepEqual(
        tracked.filter((name) => !name.startsWith('.') && !known.includes(name)),
        [],
      )
    })

  it('has a CHANGELOG with an Unreleased section', () => {
    assert.match(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'), /^## \[Unreleased\]$/mu)
  })

  it('ships the licenses of the packages that are compiled into its commands', () => {
    const parts = readdirSync(join(root, 'dist/bin/parts')).map((name) => join(root, 'dist/bin/parts', name))
    const compiled = parts.flatMap((path) => [
      ...readFileSync(path, 'utf8').matchAll(/^\s*\/\/ node_modules\/([^/\n]+)\//gmu),
    ])
    const licenses = readFileSync(join(root, 'dist/bin/LICENSES.txt'), 'utf8')
    const names = new Set(compiled.map(([, name = '']) => name))
    assert.ok(names.has('yargs'), 'no compiled package was found')
    assert.deepEqual(
      [...names].filter((name) => !licenses.includes(`\n${name}\n\n`) && !licenses.startsWith(`${name}\n\n`)),
      [],
    )
  })

  it('contains no download address of a package', () => {
    assert.ok(!readFileSync(join(root, 'package-lock.json'), 'utf8').includes('"resolved"'))
  })
})

spec('the exports of lib/ and bin/', (it) => {
  it('have different names, unless one re-exports the other', () => {
    assert.deepEqual(clashingExports([...lib, ...bin]), [])
  })

  it('are compared by their declarations', () => {
    const sources = [
      sourceOf('lib/a.ts', 'export const b = 1\nexport async function c() {}\nexport type D = string'),
      sourceOf('lib/e.ts', "export { b } from './a.ts'\nexport abstract class C {}\n// export const b = 2"),
      sourceOf('lib/f.ts', 'export interface D {}\nexport const d = 1\nconst c = 1'),
    ]
    assert.deepEqual(clashingExports(sources), ['D: lib/a.ts, lib/f.ts'])
  })
})

spec('imports', (it) => {
  it('have no cycle, except type-only ones within a folder', () => {
    assert.deepEqual(importCycles([...lib, ...bin, ...examples, ...specs]), [])
  })

  it('are followed over folders, and within a folder unless they are type-only', () => {
    const sources = [
      sourceOf('lib/a/a.ts', "import type { b } from './b.ts'\nimport { type C, type D } from '../c/c.ts'"),
      sourceOf('lib/a/b.ts', "import { a } from './a.ts'\nimport { e } from './e.ts'"),
      sourceOf('lib/a/e.ts', "export { b } from './b.ts'"),
      sourceOf('lib/c/c.ts', "import type { A } from '../a/a.ts'"),
    ]
    const cycles = [
      ['lib/a/a.ts', 'lib/c/c.ts'],
      ['lib/a/b.ts', 'lib/a/e.ts'],
    ]
    assert.deepEqual(importCycles(sources), cycles)
  })
})

spec('comments and sentences', (it) => {
  it('have a named subject', () => {
    assert.deepEqual(wordingFaults([...lib, ...bin]), [])
  })

  it('are searched in comments, sentences and templates, but not in code', () => {
    const text = [
      '/** Tells whoever',
      ' * has not been told. */',
      "const a = { who: 'who' } // the users who are online, as `osp who` shows",
      "const b = 'nobody is here'",
      `const c = \`\${told} somebody\n\${nobody}\``,
    ].join('\n')
    const places = wordingFaults([sourceOf('x.ts', text)]).map((fault) => fault.split(': ').slice(0, 2).join(' '))
    assert.deepEqual(places, ['x.ts:1 whoever', 'x.ts:2 told', 'x.ts:4 nobody', 'x.ts:5 somebody'])
  })
})

spec('a parsed source', (it) => {
  it('has every import, however it is written', () => {
    const text = `
      import a from './a.ts'
      import type { B } from "../b.ts"
      import { c,
        d } from 'zod'
      import 'node:fs'
      export { e } from './e/e.ts'
      type F = import('./f.ts').F
      const g = await import( 'g' )
      // import h from 'h'
      /* import i from 'i' */
      const j = '// no comment'; import k from 'k'
    `
    const imports = ['lib/core/a.ts', 'lib/b.ts', 'zod', 'node:fs', 'lib/core/e/e.ts', 'lib/core/f.ts', 'g', 'k']
    assert.deepEqual(sourceOf('lib/core/x.ts', text).imports, imports)
  })

  it('has its code without comments', () => {
    const { code } = sourceOf('x.ts', "const a = 1 // Date.now\n/* Math.random */ const b = 'x // y'")
    assert.equal(code, "const a = 1 \n const b = 'x // y'")
  })

  it('exists for each file of lib/ and spec/', () => {
    assert.ok(lib.some(({ path }) => path === 'lib/errors.ts'))
    assert.ok(specs.some(({ path }) => path === 'spec/tidy.spec.ts'))
  })
})
