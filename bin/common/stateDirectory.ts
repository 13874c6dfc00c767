import { existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, posix, win32 } from 'node:path'
import { hostKeyOf } from 'ospd/node'
import { type CommonOptions, userOf } from './commonOptions.ts'
import { checkDirectory } from './files.ts'

const surroundings = () => ({ platform: process.platform, env: process.env, home: homedir() })

/** Returns the default state directory of `osp`. */
export function platformState({ platform, env, home } = surroundings()): string {
  if (platform === 'win32') return win32.join(env.LOCALAPPDATA || win32.join(home, 'AppData', 'Local'), 'osp')
  if (platform === 'darwin') return posix.join(home, 'Library', 'Application Support', 'osp')
  // The XDG Base Directory Specification ignores relative paths.
  const { XDG_STATE_HOME: state = '' } = env
  return posix.join(posix.isAbsolute(state) ? state : posix.join(home, '.local', 'state'), 'osp')
}

type StateValues = Pick<CommonOptions, 'state' | 'server'>

/** Returns the path of the list of known servers. */
export const knownServersPath = ({ state }: Pick<StateValues, 'state'>) => `${state ?? platformState()}/known_servers`

/** Returns the state directory of one user on one server: `STATE/HOST_PORT/USER`. */
export function stateDirectoryOf({ state, server }: StateValues, user: string): string {
  return `${state ?? platformState()}/${escaped(hostKeyOf(server.host))}_${server.port}/${escaped(user)}`
}

/** Returns the users with a stored token for this server, or none if the directory cannot be read. */
export function usersWithToken(values: StateValues): readonly string[] {
  const path = dirname(stateDirectoryOf(values, '-'))
  try {
    const found = readdirSync(path).filter((name) => existsSync(join(path, name, 'token')))
    return found.map((name) => decodeURIComponent(name)).sort()
  } catch {
    return []
  }
}

/** Returns the state directory of the user of a command. Throws UsageError if it cannot be used. */
export function openStateDirectory(values: StateValues & Pick<CommonOptions, 'user'>): string {
  const path = stateDirectoryOf(values, userOf(values))
  const { state } = values
  const what = state === undefined ? 'the state directory' : '--state'
  checkDirectory(what, state ?? platformState(), 'make-and-write')
  checkDirectory('the state directory', path, 'make-and-write')
  return path
}

/** Returns the state directory of a device, which is inside the state directory of its user. */
export const deviceDirectoryOf = (directory: string, device: string): string =>
  join(directory, 'devices', escaped(device))

/** Returns a distinct file name for each name, also on file systems that ignore case or reject characters. */
function escaped(name: string): string {
  return name.replace(/[^a-z0-9._-]/gu, (char) =>
    [...Buffer.from(char)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
  )
}
