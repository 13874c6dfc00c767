import { resolve } from 'node:path'
import { type Context, hostKeyOf, keptContexts, keptToken } from 'ospd/node'
import { type CommonOptions, commonOptions, userOf } from './commonOptions.ts'
import { addressText, type Defaults, type ReadGiven, type ServerAddress, serverAddress } from './settings.ts'
import { platformState, stateDirectoryOf } from './stateDirectory.ts'

/** Returns the contexts in the state directory. */
export const contextsIn = ({ state }: Partial<Pick<CommonOptions, 'state'>>) => keptContexts(state ?? platformState())

/**
 * Returns the values of the current context. Returns none if another server is specified, and no TLS settings if TLS is switched
 * off.
 */
export function contextDefaults(given: ReadGiven): Defaults | undefined {
  const { current, all } = contextsIn({ state: given('state', commonOptions.state) }).load()
  const context = current === undefined ? undefined : all.get(current)
  if (!context) return undefined
  const server = given('server', commonOptions.server)
  if (server && !isAt(context, server)) return undefined
  const isPlain = given('tls', commonOptions.tls) === false
  const { user, tls, tlsCa, tlsCert, tlsKey, allowPlaintext } = context
  const ofTls = { tls, 'tls-ca': tlsCa, 'tls-cert': tlsCert, 'tls-key': tlsKey }
  return {
    from: `the context ${current}`,
    values: { server: context.server, user, 'allow-plaintext': allowPlaintext, ...(!isPlain && ofTls) },
  }
}

const isAt = (context: Context, server: ServerAddress) => hostKeyOf(context.server) === hostKeyOf(addressText(server))

/** Returns the stored token of a context. */
export function tokenOf({ state }: Pick<CommonOptions, 'state'>, { server, user }: Context) {
  const { data } = serverAddress.schema.safeParse(server)
  return data && keptToken(stateDirectoryOf({ state, server: data }, user))
}

/**
 * Stores the server, the user and the TLS settings of a command as the current context. Resolves with its name. If this removes
 * the oldest context, its token is removed too.
 */
export async function saveContext(values: CommonOptions): Promise<string> {
  const path = (name: 'tls-ca' | 'tls-cert' | 'tls-key') => {
    const { [name]: given } = values
    return given === undefined ? undefined : resolve(given)
  }
  const context = {
    server: addressText(values.server),
    user: userOf(values),
    tls: values.tls,
    tlsCa: path('tls-ca'),
    tlsCert: path('tls-cert'),
    tlsKey: path('tls-key'),
    ...(values['allow-plaintext'] && { allowPlaintext: true }),
  }
  return await contextsIn(values).use(context, async (oldest) => void (await tokenOf(values, oldest)?.forget()))
}
