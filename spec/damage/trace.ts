/** One step of a system call that strace(1) has recorded: its entry or its success. */
export interface Step {
  readonly at: 'entry' | 'exit'
  readonly call: string
  /** Equal for both steps of a call. */
  readonly id: number
  /** Path of its descriptor argument, if it has one. */
  readonly descriptorPath: string | undefined
  /** Its string arguments in order: paths, or written data. */
  readonly strings: readonly Buffer[]
  /** Its arguments as strace prints them, without strings. */
  readonly rest: string
  /** Its result; 0 at the entry. */
  readonly result: number
}

/** Options with which strace prints calls so that `stepsOf` can read them, with every written byte. */
export const traceOptions = (calls: readonly string[]): readonly string[] => [
  ...['-f', '-xx', '-y', '-qq', '-s', '1000000'],
  ...['-e', `trace=${calls.join(',')}`, '-e', 'signal=none'],
]

const begun = /^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$/su
const resumed = /^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)/su
const whole = /^(\d+) +(\w+)\((.*)\) += (-?\d+)/su

/** Parses an output of strace into steps, in order. A failed call has no exit. */
export function* stepsOf(output: string): Generator<Step> {
  const open = new Map<string, { id: number; text: string }>()
  let id = 0
  for (const line of output.split('\n')) {
    const start = begun.exec(line)
    if (start) {
      const [, thread = '', call = '', text = ''] = start
      open.set(thread, { id: ++id, text })
      yield stepOf('entry', call, id, text, 0)
      continue
    }
    const end = resumed.exec(line)
    if (end) {
      const [, thread = '', call = '', text = '', result] = end
      const former = open.get(thread)
      if (former && Number(result) >= 0) yield stepOf('exit', call, former.id, former.text + text, Number(result))
      continue
    }
    const [, , call, text = '', result] = whole.exec(line) ?? []
    if (call === undefined) continue
    yield stepOf('entry', call, ++id, text, 0)
    if (Number(result) >= 0) yield stepOf('exit', call, id, text, Number(result))
  }
}

const hexString = /"((?:\\x[\da-f]{2})*)"/gu

function stepOf(at: Step['at'], call: string, id: number, text: string, result: number): Step {
  const [, path] = /^(?:\d+|AT_FDCWD)<((?:\\x[\da-f]{2})*)>/u.exec(text) ?? []
  return {
    at,
    call,
    id,
    descriptorPath: path === undefined ? undefined : bytesOf(path).toString(),
    strings: [...text.matchAll(hexString)].map(([, hex = '']) => bytesOf(hex)),
    rest: text.replace(hexString, '""'),
    result,
  }
}

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll('\\x', ''), 'hex')
