import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'

/** The top of the repository. */
export const root = join(import.meta.dirname, '../..')

/** A TypeScript file of the project. */
export interface Source {
  /** Path from the top of the repository, with `/`. */
  readonly path: string
  readonly text: string
  /** The text without comments. */
  readonly code: string
  /** Its imports: paths from the top of the repository, or package names. */
  readonly imports: readonly string[]
}

/** Returns every TypeScript file in a folder of the repository; none if the folder does not exist. */
export function sourcesOf(folder: string): Source[] {
  if (!existsSync(join(root, folder))) return []
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
    .map((path) => sourceOf(path, readFileSync(join(root, path), 'utf8')))
}

/** Parses a file with this text. */
export function sourceOf(path: string, text: string): Source {
  const code = withoutComments(text)
  return { path, text, code, imports: importsOf(path, code) }
}

const stringOrComment = /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\/[^\n]*|\/\*.*?\*\//gsu

function withoutComments(text: string): string {
  return text.replace(stringOrComment, (_, string: string | undefined) => string ?? '')
}

const importing = /(?:(?<!-)\bfrom|\bimport|\brequire)\s*\(?\s*(?:'([^'\n]+)'|"([^"\n]+)")/gu

function importsOf(path: string, code: string): string[] {
  return [...code.matchAll(importing)].map(([, single, double]) => {
    const named = single ?? double ?? ''
    return named.startsWith('.') ? posix.join(posix.dirname(path), named) : named
  })
}
