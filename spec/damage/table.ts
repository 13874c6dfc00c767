/** The outcomes of many trials of one kind. */
export interface Row {
  readonly name: string
  /** The number of trials by outcome. */
  readonly counts: ReadonlyMap<string, number>
}

/** Formats a table with a line for each row and a column for each outcome. */
export function tableOf(rows: readonly Row[], columns: readonly string[]): string {
  const cells = [
    ['', 'tried', ...columns],
    ...rows.map(({ name, counts }) => {
      const tried = [...counts.values()].reduce((sum, count) => sum + count, 0)
      return [name, `${tried}`, ...columns.map((column) => `${counts.get(column) ?? 0}`)]
    }),
  ]
  const widths = (cells[0] ?? []).map((_, at) => Math.max(...cells.map((row) => row[at]?.length ?? 0)))
  const lineOf = (row: readonly string[]) =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  ')
  return cells.map(lineOf).join('\n')
}
