import { isSpooled } from 'ospd/node'

/** What people are shown of where a task's content is: its path, or `-` where it was read from stdin. */
export const shownRef = (directory: string, ref: string): string => (isSpooled(directory, ref) ? '-' : ref)
