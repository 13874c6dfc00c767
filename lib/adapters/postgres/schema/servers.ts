/** The tables of the schema itself and of the servers of a cluster. */
export const serverTables = `
CREATE SCHEMA ospd;

-- One row. The shared directory contains the ids "files" and "directory", so that two clusters never share a directory by mistake, and
-- one cluster never uses two directories.
CREATE TABLE ospd.meta (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version int NOT NULL,
  cluster uuid NOT NULL DEFAULT gen_random_uuid(),
  files uuid NOT NULL DEFAULT gen_random_uuid(),
  directory uuid, -- null until the directory is initialized
  age float8 NOT NULL DEFAULT 0, -- the latest time of the age clock of removed servers
  timeline text -- that of the latest connection
);

-- Returns the timeline of the database, which changes when a standby is promoted, or null if the database has none.
CREATE FUNCTION ospd.timeline_1() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN left(pg_walfile_name(pg_current_wal_lsn()), 8);
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END $$;

INSERT INTO ospd.meta (version, timeline) VALUES (0, ospd.timeline_1());

-- One row for each start of a server. A server changes only its own row; a dead one is changed by the server that declared it dead.
CREATE TABLE ospd.server (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  boot text NOT NULL UNIQUE,
  version text NOT NULL,
  address text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease_until timestamptz NOT NULL,
  dead boolean NOT NULL DEFAULT false,
  presence_version bigint NOT NULL DEFAULT 0,
  -- The messages, the bytes of their content, and the ids that the server has added, minus those that it has removed. The sums over
  -- all rows are the totals, so a row that is removed must be added to another one.
  messages bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  ids bigint NOT NULL DEFAULT 0,
  stored bigint NOT NULL DEFAULT 0, -- the messages that the server has stored
  age float8 NOT NULL DEFAULT 0, -- the latest time of its age clock
  status jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
`
