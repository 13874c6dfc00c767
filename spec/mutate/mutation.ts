import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript-5.4'
import type { SimulatedKind } from '../simulation/simulate.ts'

/** A deliberate fault in the sources, and the run that must find it. */
export interface Mutation {
  /** What goes wrong with the mutation. */
  readonly fault: string
  readonly file: string
  /** The name of the function, method, property or constant that has the pattern. */
  readonly within: string
  /** Occurs once there. White space in it matches any white space. */
  readonly pattern: string
  readonly replacement: string
  /** The kind of worlds in which a run of the simulator breaks an invariant, or a spec file that fails. */
  readonly shownBy: SimulatedKind | `spec/${string}`
}

/** Returns the mutated text of the mutation's file below `root`, or `undefined` if the file, function or pattern is gone. */
export function mutatedFile(root: string, mutation: Mutation): string | undefined {
  const path = join(root, mutation.file)
  return existsSync(path) ? mutatedText(readFileSync(path, 'utf8'), mutation) : undefined
}

/** Returns the mutated text, or `undefined` if the function is gone or does not have the pattern exactly once. */
export function mutatedText(
  text: string,
  { within, pattern, replacement }: Pick<Mutation, 'within' | 'pattern' | 'replacement'>,
): string | undefined {
  const matches = declarations(text, within).flatMap(({ start, end }) =>
    [...text.slice(start, end).matchAll(asRegExp(pattern))].map((match) => ({ at: start + match.index, match })),
  )
  const [found, ...others] = matches
  if (!found || others.length > 0) return undefined
  const end = found.at + found.match[0].length
  return text.slice(0, found.at) + replacement + text.slice(end)
}

/** Returns the positions of the declarations of a name: functions, classes, members and constants. */
function declarations(text: string, name: string): { start: number; end: number }[] {
  const source = ts.createSourceFile('source.ts', text, ts.ScriptTarget.Latest)
  const found: { start: number; end: number }[] = []
  const visit = (node: ts.Node) => {
    const named = node as ts.Node & { name?: ts.Node }
    const isDeclaration = ts.isClassElement(node) || ts.isFunctionDeclaration(node) || ts.isVariableDeclaration(node)
    const isMember = ts.isMethodDeclaration(node) || ts.isPropertyAssignment(node) || ts.isClassDeclaration(node)
    if ((isDeclaration || isMember) && named.name && named.name.getText(source) === name) {
      found.push({ start: node.getStart(source), end: node.end })
    } else ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

function asRegExp(pattern: string): RegExp {
  return new RegExp(pattern.split(/\s+/u).map(escaped).join('\\s+'), 'gu')
}

function escaped(text: string): string {
  return text.replaceAll(/[$()*+.?[\\\]^{|}]/gu, '\\$&')
}
