import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import * as z from 'zod/mini'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { checkArgument, kinds } from '../../options.ts'
import { jsonOf } from '../../runtime/json.ts'
import { makePath, replaceFile } from '../disk/directories.ts'
import { errnoOf, pathReason } from '../disk/faults.ts'
import { checkPrivate, openTrustedSync } from '../disk/rights.ts'

/** The settings with which a user connects to a server. The token is stored separately (`keptToken`). */
export interface Context {
  /** `HOST:PORT` */
  readonly server: string
  readonly user: string
  readonly tls: boolean
  /** Absolute paths of PEM files. */
  readonly tlsCa?: string | undefined
  readonly tlsCert?: string | undefined
  readonly tlsKey?: string | undefined
  readonly allowPlaintext?: boolean | undefined
}

/** The contexts of a state directory, and the name of the current one. */
export interface Contexts {
  readonly current: string | undefined
  /** By name: `USER@HOST:PORT`. */
  readonly all: ReadonlyMap<string, Context>
}

/** The contexts in a file that only its owner can read. */
export interface KeptContexts {
  /**
   * Returns the stored contexts. Throws OspError `usage` if other users can read the file, `data-format` if its content is damaged
   * or another user could change it, and `internal` if it cannot be read.
   */
  load(): Contexts
  /**
   * Durably adds a context, or replaces the one for this server and user, and makes it the current one. Resolves with its name. If
   * there are too many contexts, the oldest is removed after `evict` has resolved.
   */
  use(context: Context, evict?: (oldest: Context) => Promise<void>): Promise<string>
  /** Durably makes a stored context the current one. Resolves with false if no context has this name. */
  select(name: string): Promise<boolean>
  /** Durably removes a context. Resolves with it, or with `undefined` if no context has this name. */
  remove(name: string): Promise<Context | undefined>
}

const text = z.string().check(z.refine((value) => value !== ''))

const context = z.object({
  server: text,
  user: text,
  tls: z.boolean(),
  tlsCa: z.optional(text),
  tlsCert: z.optional(text),
  tlsKey: z.optional(text),
  allowPlaintext: z.optional(z.boolean()),
})

const file = z.object({ version: z.literal(1), current: z.nullable(z.string()), contexts: z.array(context) })

/** Returns the contexts of a state directory. */
export function keptContexts(directory: string): KeptContexts {
  checkArgument('keptContexts', 'the directory', kinds.path, directory)
  const folder = resolve(directory)
  const path = join(folder, 'contexts.json')
  const load = () => read(path)
  const store = async (current: string | undefined, contexts: readonly Context[]) => {
    await makePath(folder)
    const fresh = `${path}.${randomBytes(8).toString('hex')}.new`
    const content = { version: 1, current: current ?? null, contexts: contexts.slice(-clientLimits.contexts) }
    await replaceFile(path, `${JSON.stringify(content, undefined, 2)}\n`, true, fresh).catch(async (error: unknown) => {
      await rm(fresh, { force: true })
      throw error
    })
  }
  return {
    load,
    async use(added, evict) {
      const name = contextName(added)
      const others = [...load().all].flatMap(([other, each]) => (other === name ? [] : [each]))
      const all = [...others, added]
      for (const oldest of all.slice(0, -clientLimits.contexts)) await evict?.(oldest)
      await store(name, all)
      return name
    },
    async select(name) {
      const { all } = load()
      const isKnown = all.has(name)
      if (isKnown) await store(name, [...all.values()])
      return isKnown
    },
    async remove(name) {
      const { current, all } = load()
      const removed = all.get(name)
      const others = [...all.values()].filter((each) => each !== removed)
      if (removed) await store(current === name ? undefined : current, others)
      return removed
    },
  }
}

const contextName = ({ user, server }: Context) => `${user}@${server}`

function read(path: string): Contexts {
  const content = readPrivate(path)
  if (content === undefined) return { current: undefined, all: new Map() }
  const { data } = file.safeParse(jsonOf(content))
  if (!data) throw new OspError('data-format', `${path} is damaged; remove it, and log in again (osp login)`)
  const all = new Map<string, Context>(data.contexts.map((each) => [contextName(each), each]))
  return { current: data.current !== null && all.has(data.current) ? data.current : undefined, all }
}

/** Returns the text of a file that only its owner can read, or `undefined` if it is missing, or in a closed directory. */
function readPrivate(path: string): string | undefined {
  try {
    const fd = openTrustedSync(path, constants.O_RDONLY)
    try {
      checkPrivate('the contexts', path, fstatSync(fd).mode)
      return readFileSync(fd, 'utf8')
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (error instanceof OspError) throw error
    // A user who cannot read the directory has stored nothing there.
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errnoOf(error) ?? '')) return undefined
    throw new OspError('internal', `${path} cannot be read: ${pathReason(error)}`, { cause: error })
  }
}
