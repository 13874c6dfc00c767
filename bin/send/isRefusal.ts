import type { OspError } from 'ospd'

/** Broken links are told for all files at once, and what the client repairs by itself is not worth a word. */
export function isRefusal({ code, again }: OspError): boolean {
  const broken = ['link-lost', 'unreachable', 'timed-out', 'closed', 'superseded', 'shutting-down']
  return again === 'later' && !broken.includes(code)
}
