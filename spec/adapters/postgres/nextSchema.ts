import { migrations } from '../../../lib/adapters/postgres/migrations.ts'

const tables = [
  ...[
    'added',
    'answer',
    'app_user',
    'body',
    'box',
    'device',
    'ended',
    'file',
    'file_change',
    'import',
    'mail',
    'marker',
    'meta',
    'presence',
    'refused',
    'sent',
  ],
  ...['server', 'session', 'transfer', 'users_version'],
]

/** A function that calls the one of this version, and records that it was called. */
const nextFunction = ([name, version]: readonly [string, number]) => `
  DO $$ DECLARE v_function pg_proc; BEGIN
    SELECT * INTO v_function FROM pg_proc WHERE proname = '${name}_${version}' AND pronamespace = 'ospd'::regnamespace;
    EXECUTE format('CREATE OR REPLACE FUNCTION ospd.${name}_${version + 1}(%s) RETURNS %s LANGUAGE plpgsql AS
        $f$ BEGIN INSERT INTO ospd.added_call (name) VALUES (''${name}''); RETURN ospd.${name}_${version}(%s); END $f$',
      pg_get_function_arguments(v_function.oid), format_type(v_function.prorettype, NULL),
      (SELECT string_agg('$' || n, ', ' ORDER BY n) FROM generate_series(1, v_function.pronargs) n));
  END $$;`

/**
 * A migration as a later release may have it: it adds a column to each table, a table, and functions beside those of this
 * version.
 */
const nextMigration = [
  ...tables.map((table) => `ALTER TABLE ospd.${table} ADD COLUMN IF NOT EXISTS added text NOT NULL DEFAULT 'next'`),
  `CREATE TABLE IF NOT EXISTS ospd.added_call (name text NOT NULL); ${(
    [
      ['post', 1],
      ['complete', 2],
    ] as const
  )
    .map(nextFunction)
    .join('')}`,
]

/** The migrations of a later release. */
export const nextMigrations = [...migrations, nextMigration]
