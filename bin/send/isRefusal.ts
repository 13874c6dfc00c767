import type { OspError, Retry } from 'ospd'

/** Broken links are told for all files at once, and what the client repairs by itself is not worth a word. */
export function isRefusal({ code, retry }: OspError): boolean {
  const broken = ['link-lost', 'link-replaced', 'unreachable', 'timed-out', 'closed', 'superseded', 'shutting-down']
  return retry === 'later' && !broken.includes(code)
}

/** Whether the same command can help later. Whom the server does not let in can come with another token. */
export const retryOf = ({ code, retry }: OspError): Retry => (code === 'unauthorized' ? 'later' : retry)

/** Whether a task stays one that has ended so. */
export const canPass = (why: OspError): boolean => retryOf(why) !== 'never'
