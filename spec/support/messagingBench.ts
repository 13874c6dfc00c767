import { type Client, connect } from 'ospd'
import { tcp } from 'ospd/node'
import { type Outcome, type Place, place, run, start } from './commands.ts'
import type { Running } from './processes.ts'
import { type Served, served } from './served.ts'
import { startOnTerminal } from './terminal.ts'
import { turns } from './turns.ts'

type ServedOptions = Parameters<typeof served>[0]

/** A server in this process, and `osp` commands whose users keep their state in one directory. */
export interface MessagingBench extends AsyncDisposable {
  readonly server: Served
  readonly at: Place
  /** Runs `osp COMMAND … --user USER` until it exits. */
  osp(user: string, args: readonly string[], input?: string): Promise<Outcome>
  /** Starts a command. */
  begin(user: string, args: readonly string[], env?: NodeJS.ProcessEnv): Running
  /** Starts a command on a terminal. */
  beginOnTerminal(user: string, args: readonly string[]): Running
  /** Connects a client of the library. */
  client(user: string): Promise<Client>
  /** Resolves when this user is on the online list, or no longer on it. */
  isOnline(user: string, online?: boolean): Promise<void>
}

export async function messagingBench(options?: ServedOptions): Promise<MessagingBench> {
  const at = await place()
  const its = await served(options)
  const clients: Client[] = []
  const flags = (user: string) => ['--server', its.address, '--state', at.path, '--user', user]
  const line = (user: string, [command = '', ...args]: readonly string[]) => [command, ...flags(user), ...args]
  return {
    server: its,
    at,
    osp: (user, args, input = '') => run('osp', line(user, args), { input }),
    begin: (user, args, env = {}) => start('osp', line(user, args), { env }),
    beginOnTerminal: (user, args) => startOnTerminal('osp', line(user, args)),
    async client(user) {
      const client = await connect(tcp({ port: its.port }), { user })
      clients.push(client)
      return client
    },
    isOnline: (user, online = true) =>
      turns(() => its.server.status().online.some((member) => member.user === user) === online),
    async [Symbol.asyncDispose]() {
      for (const client of clients) await client.close()
      await its[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
}
