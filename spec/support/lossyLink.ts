import { pathOf, type Running, startCommand } from './processes.ts'

/** Numbers of packets so far. */
export interface PacketCounts {
  readonly carried: number
  readonly lost: number
  readonly duplicated: number
  readonly overtaken: number
}

export type End = 'server' | 'client'

/** A bad link between two network namespaces. Everything is removed when it is disposed, or when this process ends. */
export interface LossyLink extends AsyncDisposable {
  /** The address of the end where the server runs. */
  readonly host: string
  /** A wrapper that runs a command at that end. */
  under(end: End): readonly string[]
  /** From now on, all packets to this end are lost, or those to both ends. */
  cut(to?: End): Promise<PacketCounts>
  /** From now on, packets arrive again, subject to the usual losses. */
  join(): Promise<PacketCounts>
}

/** Packets are lost and duplicated. Each is delayed by 20 to 40 ms, so packets overtake each other. */
const badness = ['--loss', '0.02', '--duplicate', '0.05', '--delay', '20', '--jitter', '20', '--mtu', '9000']
const host = '10.98.0.1'

export async function lossyLink(): Promise<LossyLink> {
  const program = pathOf('spec/support/lossyLink.py')
  // In its own process group, it notices the end of this process by its standard input, even if the whole group is
  // killed.
  const running = startCommand('python3', [program, '--server', host, ...badness], { detached: true })
  // Commands after its end are lost; the missing answer is noticed.
  running.child.stdin?.on('error', () => {})
  const [, server, client] = await running.printed(/^up (\d+) (\d+)\n/mu)
  const spaces = { server, client }
  let answers = 0
  const tell = async (line: string): Promise<PacketCounts> => {
    running.child.stdin?.write(`${line}\n`)
    const [answer = ''] = (await running.printed(new RegExp(`(?:^\\{.*\\}\n){${++answers}}`, 'mu'))) ?? []
    return JSON.parse(answer.trimEnd().split('\n').at(-1) ?? '') as PacketCounts
  }
  return {
    host,
    under: (end) => ['nsenter', `--net=/proc/${running.child.pid}/fd/${spaces[end]}`],
    cut: (to) => tell(`cut ${to ?? ''}`),
    join: () => tell('join'),
    [Symbol.asyncDispose]: () => ended(running),
  }
}

async function ended({ child, ended }: Running): Promise<void> {
  child.stdin?.end()
  await ended
}

/** Whether this process may create such links and run commands at their ends; creates one to find out. */
export const canLink: boolean = await (async () => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  try {
    await using link = await lossyLink()
    const [command = '', ...line] = link.under('client')
    const { code } = await startCommand(command, [...line, process.execPath, '--version']).ended
    return code === 0
  } catch {
    return false
  }
})()
