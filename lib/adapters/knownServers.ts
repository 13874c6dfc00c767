import { open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { OspError } from '../errors.ts'
import { checkArgument, checkOptions, type Kind, kinds, optional } from '../options.ts'
import { makePath, syncDirectory } from './disk/directories.ts'
import { errnoOf } from './disk/faults.ts'
import type { SeenServer, TrustServer } from './tls/seenServer.ts'
import { hostKeyOf, placeOf } from './unreachable.ts'

export interface KnownServersOptions {
  /** A server was pinned at its first use. */
  readonly pinned?: (server: SeenServer) => void
  /** Neither makes nor heeds a pin: for whom no root vouches is refused. */
  readonly pinsNobody?: boolean
}

const pinning = {
  pinned: optional(kinds.function),
  pinsNobody: optional(kinds.flag),
} as const satisfies { readonly [K in keyof KnownServersOptions]-?: Kind }

interface Pin {
  /** `HOST:PORT`, as normalized by `hostKeyOf`. */
  readonly place: string
  /** From 1 up, as editors count. */
  readonly line: number
  /** What stands behind the place. */
  readonly fingerprint: string
}

/**
 * Trusts servers by a file with a line for each, `HOST:PORT SHA256:…`: who has a line must show that key, whoever vouches
 * for another one. Who has none is trusted if the roots vouch for it, and else gets a line at this first use: durable
 * before anything is sent. The first line of a place counts; empty lines, and those that begin with `#`, are passed over.
 * Several programs can share the file. Rejects with OspError `unauthorized` that says what to do, also where the file, or a
 * line of it, can't be read, or the file not be written.
 */
export function knownServers(path: string, options: KnownServersOptions = {}): TrustServer {
  checkArgument('knownServers', 'the path', kinds.path, path)
  checkOptions('knownServers', pinning, options)
  return async (server) => {
    if (options.pinsNobody) return checkVerified(server)
    const pin = await pinOf(path, server)
    if (pin) return checkPin(path, server, pin)
    if (server.verified) return
    await append(path, `${nameOf(server)} ${server.fingerprint}\n`)
    // Another program can have pinned another key at the same time: one of the two talks to somebody in between.
    const first = await pinOf(path, server)
    if (!first) throw unusable(path, 'written', new Error('what was written is not in it'))
    if (first.fingerprint !== server.fingerprint) return checkPin(path, server, first)
    options.pinned?.(server)
  }
}

/**
 * Resolves with the fingerprint of a server in the file, or `undefined` if it has none. Rejects with OspError
 * `unauthorized` if the file, or a line of it, cannot be read.
 */
export async function pinnedFingerprint(path: string, server: Place): Promise<string | undefined> {
  return (await pinOf(path, server))?.fingerprint
}

type Place = Pick<SeenServer, 'host' | 'port'>

const nameOf = ({ host, port }: Place) => placeOf(hostKeyOf(host), port)

async function pinOf(path: string, server: Place): Promise<Pin | undefined> {
  const text = await reading(path)
  const wanted = nameOf(server)
  // Lines that people have edited are read as they were meant; an editor can have put a byte order mark before the first.
  const rows = text
    .replace(/^\uFEFF/u, '')
    .split('\n')
    .map((line) => line.trim().split(/\s+/u))
  const pins = rows.flatMap((row, at) => pinIn(row, at + 1, path))
  return pins.find(({ place }) => place === wanted)
}

/** None for a line that is empty or a comment. Throws for one that can't be read: it could be that of any server. */
function pinIn([place = '', fingerprint, ...more]: readonly string[], line: number, path: string): readonly Pin[] {
  if (place === '' || place.startsWith('#')) return []
  if (fingerprint !== undefined && more.length === 0 && /.:\d+$/u.test(place))
    return [{ place: hostKeyOf(place), line, fingerprint }]
  const text = `line ${line} of ${path} is no "HOST:PORT SHA256:…", so that nobody can be trusted by that list`
  throw new OspError('unauthorized', `${text}; mend or remove the line, and try again`)
}

async function reading(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return ''
    throw unusable(path, 'read', error)
  }
}

function checkPin(path: string, server: SeenServer, { line, fingerprint }: Pin): void {
  if (fingerprint === server.fingerprint) return
  throw new OspError(
    'unauthorized',
    `the server at ${nameOf(server)} shows another key than before: ${server.fingerprint}, not ${fingerprint}. ` +
      'Either it was given a new key, or somebody in between poses as it; nothing was sent. ' +
      'Compare the new fingerprint with the one that the daemon prints when it starts; ' +
      `only if they are the same, remove line ${line} of ${path} and try again`,
  )
}

function checkVerified(server: SeenServer): void {
  if (server.verified) return
  throw new OspError(
    'unauthorized',
    `the certificate of the server at ${nameOf(server)} does not hold by the given authority: ${server.why} ` +
      `(its key is ${server.fingerprint}); nothing was sent`,
  )
}

/** One write to the end of the file, so that lines of several programs do not mix: durable. */
async function append(path: string, line: string): Promise<void> {
  try {
    await makePath(dirname(path))
    const file = await open(path, 'a+', 0o600)
    try {
      await file.appendFile((await endsLine(file)) ? line : `\n${line}`)
      await file.sync()
    } finally {
      await file.close()
    }
    await syncDirectory(dirname(path))
  } catch (error) {
    throw unusable(path, 'written', error)
  }
}

/** Whether its last line has its end: a crash, or an editor, can have left one without. */
async function endsLine(file: Awaited<ReturnType<typeof open>>): Promise<boolean> {
  const { size } = await file.stat()
  if (size === 0) return true
  const { buffer } = await file.read(new Uint8Array(1), 0, 1, size - 1)
  return buffer[0] === 0x0a
}

function unusable(path: string, how: string, cause: unknown): OspError {
  const { message } = cause as Error
  const text = `the list of known servers ${path} cannot be ${how}, so that nobody can be trusted by it: ${message}`
  return new OspError('unauthorized', text, { cause })
}
