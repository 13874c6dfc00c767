/** The tables of unfinished and completed uploads. */
export const transferTables = `
-- Tokens must rise in the order of the calls, so the sequence has no cache.
CREATE SEQUENCE ospd.claim_token;

-- The records of unfinished uploads.
CREATE TABLE ospd.transfer (
  user_name text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  size bigint NOT NULL,
  modified_at bigint NOT NULL,
  algorithm text NOT NULL,
  token bigint NOT NULL,
  server bigint NOT NULL,
  link bigint NOT NULL,
  instance bigint NOT NULL,
  session uuid NOT NULL,
  -- Whether the instance receives the upload, if the server is alive.
  held boolean NOT NULL,
  -- The latest last.
  superseded uuid[] NOT NULL DEFAULT '{}',
  -- Each is the offset (8 bytes), the length of the digest (1 byte) and the digest.
  checkpoints bytea NOT NULL DEFAULT '',
  -- The offset of the last checkpoint.
  durable bigint NOT NULL DEFAULT 0,
  -- The part of the quota of the user that the claim has reserved.
  reserved bigint NOT NULL DEFAULT 0,
  -- The files and folders that the claim has reserved.
  reserved_entries bigint NOT NULL DEFAULT 0,
  -- The token of the latest claim of this name whose server has released it, after it had closed the partial file.
  released bigint NOT NULL DEFAULT 0,
  verified jsonb,
  verified_stamp text,
  updated_at float8 NOT NULL,
  PRIMARY KEY (user_name, name)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
-- Contains no column that checkpoints change, so that their updates can be heap-only.
CREATE INDEX transfer_held ON ospd.transfer (server) WHERE held;

-- The reasons why claims ended, for their former holders. Kept for ten minutes.
CREATE TABLE ospd.ended (
  token bigint PRIMARY KEY,
  why text NOT NULL,
  ended_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The completion markers.
CREATE TABLE ospd.marker (
  user_name text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  file jsonb NOT NULL,
  modified_at bigint NOT NULL,
  version text NOT NULL,
  -- The claim that has completed the upload; null for an announced file.
  token bigint,
  -- The name of the content of an announced file that may not be published yet.
  source text,
  -- What an announced file adds to the quota of its user: bytes, and files and folders.
  growth bigint NOT NULL DEFAULT 0,
  entries bigint NOT NULL DEFAULT 0,
  -- The server that reports the file.
  server bigint NOT NULL,
  reported boolean NOT NULL DEFAULT false,
  -- In ms of the wall clock.
  until float8 NOT NULL,
  PRIMARY KEY (user_name, name)
);
CREATE INDEX marker_until ON ospd.marker (until) WHERE reported;
CREATE INDEX marker_unpublished ON ospd.marker (user_name) WHERE source IS NOT NULL;
CREATE INDEX marker_unreported ON ospd.marker (server) WHERE NOT reported;

-- What the published files of each user have added to the quota so far. A server adds what has been added since it counted the
-- files.
CREATE TABLE ospd.added (
  user_name text COLLATE "C" PRIMARY KEY,
  growth bigint NOT NULL,
  entries bigint NOT NULL
) WITH (fillfactor = 70);
`
