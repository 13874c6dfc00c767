import { join } from 'node:path'
import { type LogEntry, OspError } from 'ospd'
import { disk } from 'ospd/node'
import { type CommandOptions, type Outcome, type Place, place, run, start } from './commands.ts'
import type { Running } from './processes.ts'
import { type Served, served } from './served.ts'

/** A server in this process that requires tokens, and commands of alice. */
export interface TokenServer extends AsyncDisposable {
  readonly its: Served
  readonly at: Place
  readonly log: readonly LogEntry[]
  /** The token of each user. */
  readonly tokens: Map<string, string>
  /** The file of alice's stored token. */
  readonly kept: string
  /** Flags of every command: server, state, user. */
  readonly flags: readonly string[]
  osp(args: readonly string[], options?: CommandOptions): Promise<Outcome>
  begin(args: readonly string[], options?: CommandOptions): Running
  /** Stops the server, awaits `meanwhile`, and starts it again at the same address. */
  leave(meanwhile: () => Promise<void>): Promise<void>
}

export async function tokenServer(token = 'osp_alices'): Promise<TokenServer> {
  const at = await place()
  const log: LogEntry[] = []
  const tokens = new Map([['alice', token]])
  const authenticator = {
    async authenticate({ user, token }: { user: string; token: string }) {
      if (tokens.get(user) === token) return { user }
      throw new OspError(
        'unauthorized',
        token === '' ? 'this server wants a token' : `that is not the token of ${user}`,
      )
    },
    knows: async () => true,
  }
  const serve = (port: number) =>
    served({ port, authenticator, storage: disk(join(at.path, 'data')), log: (entry) => log.push(entry) })
  let its = await serve(0)
  const state = join(at.path, 'state')
  const flags = ['--server', its.address, '--state', state, '--user', 'alice']
  const line = ([command = '', ...args]: readonly string[]) => [command, ...flags, ...args]
  return {
    get its() {
      return its
    },
    at,
    log,
    tokens,
    kept: join(state, its.address.replace(':', '_'), 'alice', 'token'),
    flags,
    osp: (args, options = {}) => run('osp', line(args), { input: '', ...options }),
    begin: (args, options = {}) => start('osp', line(args), options),
    async leave(meanwhile) {
      const { port } = its
      await its[Symbol.asyncDispose]()
      await meanwhile()
      its = await serve(port)
    },
    async [Symbol.asyncDispose]() {
      await its[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
}
