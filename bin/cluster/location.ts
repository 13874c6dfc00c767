import { readKind } from '../common/settings.ts'

/** Accepts the URL of a PostgreSQL database. It can contain a password, so no error message repeats it. */
export const databaseUrl = {
  ...readKind('URL', 'the URL of a PostgreSQL database, such as postgres://user@host/name', (text) =>
    /^postgres(?:ql)?:\/\/\S+$/u.test(text) && URL.canParse(text) ? text : undefined,
  ),
  isSecret: true,
  isDatabase: true,
} as const
