import { clientLimits } from '../../limits.ts'
import type { OnlineLink } from '../connection/session.ts'
import { Buffers } from './buffers.ts'

/** A link that carries uploads. */
export interface UploadLink extends OnlineLink {
  readonly buffers: Buffers
}

/** Gives a link the buffers of its chunks, which end with it. */
export function uploadLink(link: OnlineLink): UploadLink {
  // No chunk is longer than the frame that the server takes.
  const bytes = Math.min(clientLimits.bufferBytes, link.welcome.maxFrame)
  const buffers = new Buffers(clientLimits.buffers, bytes)
  link.loss.hear((why) => buffers.end(why))
  return { ...link, buffers }
}
