import type { Source } from './source.ts'

/** Phrases that technical English avoids: pronouns without a named subject, and metaphors for states. */
const phrases =
  /\b(?:whoever|whom|somebody|someone|nobody|anybody|everybody|so many|one's own|what is|told|untold|hungry|starved)\b|(?<!\b(?:users?|senders?|recipients?|operators?|callers?|owners?|members?|readers?|maintainers?|people|person|osp) |, )\bwho\b/giu

const text = /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\/[^\n]*|\/\*.*?\*\//gsu

/** Code inside a comment or a template, which is not prose. */
const code = /`[^`\n]*`|\$\{[^{}]*\}/gu

/** Returns each phrase to avoid in the comments and sentences of these files, as `path:line: phrase: context`. */
export function wordingFaults(sources: readonly Source[]): string[] {
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
