import type { Again, OspError } from 'ospd'

/** Broken links are told for all files at once, and what the client repairs by itself is not worth a word. */
export function isRefusal({ code, again }: OspError): boolean {
  const broken = ['link-lost', 'link-replaced', 'unreachable', 'timed-out', 'closed', 'superseded', 'shutting-down']
  return again === 'later' && !broken.includes(code)
}

/** Whether the same command can help later. Whom the server does not let in can come with another token. */
export const againOf = ({ code, again }: OspError): Again => (code === 'unauthorized' ? 'later' : again)

/** Whether a task stays one that has ended so. */
export const canPass = (why: OspError): boolean => againOf(why) !== 'no'
