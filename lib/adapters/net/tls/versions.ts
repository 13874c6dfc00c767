import { constants } from 'node:crypto'

/** TLS 1.3 and nothing older. Early data Node neither sends nor takes; no session is resumed, so that each link is checked anew. */
export const versions = { minVersion: 'TLSv1.3', secureOptions: constants.SSL_OP_NO_TICKET } as const
