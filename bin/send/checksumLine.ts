/**
 * The line that `sha256sum` (and its like) prints for a file, so that `sha256sum -c` takes it: where the path has a
 * backslash, a newline or a carriage return, these are escaped, and the line begins with a backslash.
 */
export function checksumLine(digest: string, path: string): string {
  const escaped = path.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
  return `${escaped === path ? '' : '\\'}${digest}  ${escaped}`
}
