import { OspError } from '../../errors.ts'

/** Returns an OspError `malformed`: the server does not keep to the protocol, as `text` describes. */
export const protocolViolation = (text: string) =>
  new OspError('malformed', `the server does not keep to the protocol: ${text}`)
