import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

/**
 * Returns the text between `<!-- name -->` and `<!-- /name -->` in a page, which should equal `printed`. With UPDATE=1
 * in the environment, replaces it by `printed` first.
 */
export async function section(page: string, name: string, printed: string): Promise<string> {
  const path = join(root, page)
  const text = await readFile(path, 'utf8')
  const [before, inside, after] = split(text, `<!-- ${name} -->\n`, `<!-- /${name} -->`)
  if (before === undefined || inside === undefined) throw new Error(`${page} has no section "${name}"`)
  if (process.env.UPDATE !== '1' || inside === printed) return inside
  await writeFile(path, `${before}<!-- ${name} -->\n${printed}<!-- /${name} -->${after}`)
  return printed
}

function split(text: string, opening: string, closing: string): string[] {
  const from = text.indexOf(opening)
  const to = text.indexOf(closing, from)
  if (from < 0 || to < 0) return []
  return [text.slice(0, from), text.slice(from + opening.length, to), text.slice(to + closing.length)]
}

/** Formats a table in Markdown. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |\n`
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('')
}
