import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { errnoOf } from '../disk/faults.ts'
import { openTrusted } from '../disk/rights.ts'
import { hostKeyOf, placeOf } from '../net/addresses.ts'
import type { SeenServer, TrustServer } from '../net/tls/dialling.ts'

export interface KnownServersOptions {
  /** Called after the key of a new server was pinned. */
  readonly pinned?: (server: SeenServer) => void
  /** Neither creates nor checks pins: rejects a server that no root certificate vouches for. */
  readonly pinsNobody?: boolean
}

/** How a server in the file was verified. */
export interface KnownServer {
  /** The key that the server must present, unless an authority is specified. */
  readonly pin?: Pin
  /**
   * The number of the line that records that an authority has vouched for the server. Its certificate must lead to a
   * trusted root, which can be another root than before.
   */
  readonly authorityLine?: number
}

export interface Pin {
  readonly fingerprint: string
  /** The number of its line, counted from 1. */
  readonly line: number
  /** Whether it was written by a version that stored tokens without a record of how their server was verified. */
  readonly isFormer: boolean
}

/** Replaces the fingerprint in the line of a server that an authority has vouched for. */
const authority = 'authority'

/** Lines before the first line with this beginning are from a version that recorded only pins. */
const marker = '# known_servers, version 2'

/**
 * Returns a function that trusts servers by a file with one line for each server, `HOST:PORT SHA256:…` or
 * `HOST:PORT authority`. A server with a fingerprint must present that key, even if a root vouches for another key. A server
 * with `authority` must present a certificate that a root vouches for; the certificate and the authority may change. A line
 * for a new server is added at its first use, and is durable before anything is sent to a server that no root vouches for.
 * The first fingerprint of a server is used, unless an `authority` line precedes it. Empty lines and lines that begin with
 * `#` are ignored. Several programs can share the file. The function rejects with OspError `unauthorized` if the server is
 * not trusted, and if the file or one of its lines cannot be read, or other users can write to the file.
 */
export function knownServers(path: string, options: KnownServersOptions = {}): TrustServer {
  checkArgument('knownServers', 'the path', kinds.path, path)
  checkOptions('knownServers', { pinned: optional(kinds.function), pinsNobody: optional(kinds.flag) }, options)
  return async (server) => {
    const known = await knownServer(path, server)
    check(path, server, known, options)
    if (server.verified) {
      if (!known || (options.pinsNobody && !known.authorityLine)) await recordAuthority(path, server, options)
    } else if (!known) {
      await append(path, `${nameOf(server)} ${server.fingerprint}\n`)
      // Another program may have recorded another key at the same time. Then one of the two is talking to an impostor.
      const first = await knownServer(path, server)
      if (!first) throw unusable(path, 'written', new Error('the written line is missing'))
      check(path, server, first, options)
      options.pinned?.(server)
    }
  }
}

/**
 * Resolves with how a server in the file was verified, or `undefined` if it has no line. Rejects with OspError
 * `unauthorized` if the file, or a line of it, cannot be read, or if others can write to it.
 */
export async function knownServer(path: string, server: Place): Promise<KnownServer | undefined> {
  const text = await reading(path)
  const wanted = nameOf(server)
  // Tolerates the changes of editors, such as a byte order mark at the start.
  const rows = text.replace(/^\uFEFF/u, '').split('\n')
  const marked = rows.findIndex((row) => row.startsWith(marker))
  const lines = rows.flatMap((row, at) => lineIn(row.trim().split(/\s+/u), at + 1, path))
  const own = lines.filter(({ place }) => place === wanted)
  const [first] = own
  if (!first) return undefined
  const authorityLine = own.find(({ shows }) => shows === authority)?.line
  const { shows: fingerprint, line } = first
  return {
    ...(line !== authorityLine && { pin: { fingerprint, line, isFormer: marked < 0 || line <= marked } }),
    ...(authorityLine !== undefined && { authorityLine }),
  }
}

type Place = Pick<SeenServer, 'host' | 'port'>

const nameOf = ({ host, port }: Place) => placeOf(hostKeyOf(host), port)

/** Parses a line. `shows` is a fingerprint or `authority`. Throws for an invalid line, which could be any server's. */
function lineIn([place = '', shows, ...more]: readonly string[], line: number, path: string) {
  if (place === '' || place.startsWith('#')) return []
  if (shows !== undefined && more.length === 0 && /.:\d+$/u.test(place))
    return [{ place: hostKeyOf(place), line, shows }]
  const text = `line ${line} of ${path} is not of the form "HOST:PORT SHA256:…", and no server is trusted while the list is invalid`
  throw new OspError('unauthorized', `${text}; correct or remove the line, and retry`)
}

async function reading(path: string): Promise<string> {
  try {
    await using file = await openTrusted(path, constants.O_RDONLY)
    return await file.readFile('utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return ''
    throw unusable(path, 'read', error)
  }
}

function check(path: string, server: SeenServer, known: KnownServer = {}, { pinsNobody }: KnownServersOptions): void {
  const { pin, authorityLine } = known
  const { verified, fingerprint, why } = server
  const name = `the server at ${nameOf(server)}`
  const refuse = (...sentences: readonly string[]) => {
    throw new OspError('unauthorized', sentences.join(' '))
  }
  if (!verified && pinsNobody) {
    refuse(
      `the specified authority does not vouch for the certificate of ${name}: ${why} (its key is ${fingerprint});`,
      'nothing was sent',
    )
  }
  if (!verified && authorityLine) {
    refuse(
      `the certificate of ${name} was previously signed by a trusted authority, and now is not: ${why} (its key is`,
      `${fingerprint}). Another program may be impersonating the server; nothing was sent. If you use an authority of your own,`,
      'specify it (--tls-ca FILE). Only if the operator confirms that the server now has this key and a certificate of its',
      `own, remove line ${authorityLine} of ${path} and retry`,
    )
  }
  if (pinsNobody || !pin || pin.fingerprint === fingerprint) return
  refuse(
    `${name} presents a different key than before: ${fingerprint}, not ${pin.fingerprint}.`,
    ...(verified ? ['A trusted authority vouches for the new key.'] : []),
    'Either the server has a new key, or another program is impersonating it; nothing was sent. Compare the new fingerprint',
    'with the one that the daemon prints when it starts; only if they are equal, remove',
    `line ${pin.line} of ${path} and retry`,
  )
}

/** Records that an authority vouches for a server. If the file cannot be written, the server is used anyway. */
async function recordAuthority(path: string, server: SeenServer, options: KnownServersOptions): Promise<void> {
  try {
    await append(path, `${nameOf(server)} ${authority}\n`)
  } catch {
    return
  }
  check(path, server, await knownServer(path, server), options)
}

/** Appends a line durably, with a single write, so that the lines of several programs do not mix. */
async function append(path: string, line: string): Promise<void> {
  try {
    await makePath(dirname(path))
    await using file = await openTrusted(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT)
    const text = await file.readFile('utf8')
    // A crash or an editor can leave the last line without a newline.
    const end = text === '' || text.endsWith('\n') ? '' : '\n'
    const head = text.startsWith(marker) || text.includes(`\n${marker}`) ? '' : `${marker}\n`
    await file.appendFile(`${end}${head}${line}`)
    await file.sync()
    await syncDirectory(dirname(path))
  } catch (error) {
    throw unusable(path, 'written', error)
  }
}

function unusable(path: string, how: string, cause: unknown): OspError {
  const { message } = cause as Error
  const text = `the list of known servers ${path} cannot be ${how}, and no server is trusted without it: ${message}`
  return new OspError('unauthorized', text, { cause })
}
