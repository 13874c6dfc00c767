import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, type Kind, kinds, optional } from '../../options.ts'
import { makePath, syncDirectory } from '../disk/directories.ts'
import { errnoOf } from '../disk/faults.ts'
import { openTrusted } from '../disk/rights.ts'
import { hostKeyOf, placeOf } from '../net/addresses.ts'
import type { SeenServer, TrustServer } from '../net/tls/dialling.ts'

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

/** How a server in the file was verified. */
export interface KnownServer {
  /** The key that it must show, unless an authority is named. */
  readonly pin?: Pin
  /**
   * The line, if there is one, that says that an authority has vouched for it: its certificate must lead to a trusted root,
   * whatever root and certificate that is.
   */
  readonly authorityLine?: number
}

export interface Pin {
  readonly fingerprint: string
  /** From 1 up, as editors count. */
  readonly line: number
  /** It was written before tokens were stored with a record of how their server was verified. */
  readonly isFormer: boolean
}

/** Stands in a line in the place of a fingerprint. */
const authority = 'authority'

/** Lines above the first one that begins so are from a version that recorded pins alone. */
const marker = '# known_servers, version 2'

/**
 * Trusts servers by a file with a line for each, `HOST:PORT SHA256:…` or `HOST:PORT authority`. A server with a fingerprint
 * must show that key, even if a root vouches for another one. A server of an authority must show a certificate that a root
 * vouches for; a new certificate, or another authority, is no change. A server without a line gets one at this first use: durable
 * before anything is sent to a server that no root vouches for. The first fingerprint of a place counts, unless the
 * authority stands above it; empty lines, and those that begin with `#`, are passed over. Several programs can share the file.
 * Rejects with OspError `unauthorized` that says what to do, also if the file, or a line of it, can't be read, others can
 * write to it, or it can't be written.
 */
export function knownServers(path: string, options: KnownServersOptions = {}): TrustServer {
  checkArgument('knownServers', 'the path', kinds.path, path)
  checkOptions('knownServers', pinning, options)
  return async (server) => {
    const known = await knownServer(path, server)
    check(path, server, known, options)
    if (server.verified) {
      if (!known || (options.pinsNobody && !known.authorityLine)) await recordAuthority(path, server, options)
    } else if (!known) {
      await append(path, `${nameOf(server)} ${server.fingerprint}\n`)
      // Another program can have recorded something else at the same time: one of the two talks to a man in the middle.
      const first = await knownServer(path, server)
      if (!first) throw unusable(path, 'written', new Error('what was written is not in it'))
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
  // Lines that people have edited are read as they were meant; an editor can have put a byte order mark before the first.
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

interface Line {
  /** `HOST:PORT`, as normalized by `hostKeyOf`. */
  readonly place: string
  /** A fingerprint, or `authority`. */
  readonly shows: string
  readonly line: number
}

/** None for a line that is empty or a comment. Throws for one that can't be read: it could be that of any server. */
function lineIn([place = '', shows, ...more]: readonly string[], line: number, path: string): readonly Line[] {
  if (place === '' || place.startsWith('#')) return []
  if (shows !== undefined && more.length === 0 && /.:\d+$/u.test(place))
    return [{ place: hostKeyOf(place), line, shows }]
  const text = `line ${line} of ${path} is no "HOST:PORT SHA256:…", so that no server can be trusted by that list`
  throw new OspError('unauthorized', `${text}; correct or remove the line, and try again`)
}

async function reading(path: string): Promise<string> {
  try {
    const file = await openTrusted(path, constants.O_RDONLY)
    try {
      return await file.readFile('utf8')
    } finally {
      await file.close()
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return ''
    throw unusable(path, 'read', error)
  }
}

function check(
  path: string,
  server: SeenServer,
  known: KnownServer | undefined,
  { pinsNobody = false }: KnownServersOptions,
): void {
  const { pin, authorityLine } = known ?? {}
  if (!server.verified && pinsNobody) throw notOfAuthority(server)
  if (!server.verified && authorityLine) throw noLongerOfAuthority(`line ${authorityLine} of ${path}`, server)
  if (pinsNobody || !pin || pin.fingerprint === server.fingerprint) return
  const { fingerprint, line } = pin
  throw new OspError(
    'unauthorized',
    `the server at ${nameOf(server)} shows another key than before: ${server.fingerprint}, not ${fingerprint}. ` +
      (server.verified ? 'A trusted authority vouches for the new one. ' : '') +
      'Either it was given a new key, or another program in between poses as it; nothing was sent. ' +
      'Compare the new fingerprint with the one that the daemon prints when it starts; ' +
      `only if they are the same, remove line ${line} of ${path} and try again`,
  )
}

function notOfAuthority(server: SeenServer): OspError {
  return new OspError(
    'unauthorized',
    `the certificate of the server at ${nameOf(server)} does not hold by the given authority: ${server.why} ` +
      `(its key is ${server.fingerprint}); nothing was sent`,
  )
}

function noLongerOfAuthority(line: string, server: SeenServer): OspError {
  return new OspError(
    'unauthorized',
    `an authority vouched for the certificate of the server at ${nameOf(server)} before, and for the one that it shows now ` +
      `no trusted authority does: ${server.why} (its key is ${server.fingerprint}). Another program in between may pose as the ` +
      'server; nothing was sent. If the authority is one of your own, name it (--tls-ca FILE). Only if the operator confirms ' +
      `that the server has this key and no such certificate any more, remove ${line} and try again`,
  )
}

/**
 * Where nothing can be written the server is used all the same: the authority vouches for it now, and no pin can be
 * written either.
 */
async function recordAuthority(path: string, server: SeenServer, options: KnownServersOptions): Promise<void> {
  try {
    await append(path, `${nameOf(server)} ${authority}\n`)
  } catch {
    return
  }
  check(path, server, await knownServer(path, server), options)
}

/** One write to the end of the file, so that lines of several programs do not mix: durable. */
async function append(path: string, line: string): Promise<void> {
  try {
    await makePath(dirname(path))
    const file = await openTrusted(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT)
    try {
      const text = await file.readFile('utf8')
      // A crash, or an editor, can have left the last line without its end.
      const end = text === '' || text.endsWith('\n') ? '' : '\n'
      const head = text.startsWith(marker) || text.includes(`\n${marker}`) ? '' : `${marker}\n`
      await file.appendFile(`${end}${head}${line}`)
      await file.sync()
    } finally {
      await file.close()
    }
    await syncDirectory(dirname(path))
  } catch (error) {
    throw unusable(path, 'written', error)
  }
}

function unusable(path: string, how: string, cause: unknown): OspError {
  const { message } = cause as Error
  const text = `the list of known servers ${path} cannot be ${how}, so that no server can be trusted by it: ${message}`
  return new OspError('unauthorized', text, { cause })
}
