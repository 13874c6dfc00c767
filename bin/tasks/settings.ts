import { everywhere } from '../common/everywhere.ts'
import type { Values } from '../common/settings.ts'

const { server, user, state, 'retry-for': retryFor, quiet, json } = everywhere

/** The settings of every command about tasks: whose they are, at which server. Only who asks that server needs the way there. */
export const tasksSettings = { server, user, state, 'retry-for': retryFor, quiet, json } as const

export type TasksValues = Values<typeof tasksSettings>
