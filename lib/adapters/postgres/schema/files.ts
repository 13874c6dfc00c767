/** The table of stored files. */
export const fileTables = `
-- The records of stored files. A record applies while the file of this name has this version.
CREATE TABLE IF NOT EXISTS ospd.file (
  user_name text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  size bigint NOT NULL,
  -- The time of the source; null if the file counts as the result of no upload.
  modified_at bigint,
  algorithm text NOT NULL,
  -- In hexadecimal.
  digest text NOT NULL,
  metadata jsonb NOT NULL DEFAULT '{}',
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (user_name, name, version)
);
`

/** The table of changes of stored files. */
export const fileChangeTable = `
-- The files that servers remove or rename, each with the fence of the change.
CREATE TABLE IF NOT EXISTS ospd.file_change (
  fence text COLLATE "C" PRIMARY KEY,
  user_name text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  -- Null if the file is removed.
  new_name text COLLATE "C",
  version text COLLATE "C" NOT NULL,
  server bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS file_change_user ON ospd.file_change (user_name);
`

/** The metadata of unfinished uploads, and the names under which they are to be stored if `onUpload` has decided. */
export const transferColumns =
  'ALTER TABLE ospd.transfer ADD COLUMN IF NOT EXISTS metadata jsonb, ADD COLUMN IF NOT EXISTS store_as text COLLATE "C"'

/** The steps of stored files. */
export const fileFunctions = `
-- Removes the records of these names with other versions, except those of the last hour: another server can have stored a file
-- meanwhile.
CREATE OR REPLACE FUNCTION ospd.prune_files_2(p_users text[], p_names text[], p_versions text[]) RETURNS void LANGUAGE sql AS $$
  DELETE FROM ospd.file f USING unnest(p_users, p_names, p_versions) u (user_name, name, version)
   WHERE f.user_name = u.user_name AND f.name = u.name AND f.version IS DISTINCT FROM u.version
     AND f.recorded_at < clock_timestamp() - interval '1 hour'
$$;

-- Adds or replaces the records of files that completion markers describe.
CREATE OR REPLACE FUNCTION ospd.record_files_2(p_files jsonb[], p_versions text[], p_modified_at bigint[], p_metadata jsonb[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ospd.prune_files_2(array_agg(f->>'user'), array_agg(f->>'storedName'), p_versions) FROM unnest(p_files) f;
  INSERT INTO ospd.file (user_name, name, version, size, modified_at, algorithm, digest, metadata)
    SELECT f->>'user', f->>'storedName', version, (f->>'size')::bigint, modified_at, f->>'algorithm', f->>'digest', coalesce(metadata, '{}')
      FROM unnest(p_files, p_versions, p_modified_at, p_metadata) u (f, version, modified_at, metadata)
      ORDER BY 1, 2, 3
    ON CONFLICT (user_name, name, version) DO UPDATE SET size = excluded.size, modified_at = excluded.modified_at,
      algorithm = excluded.algorithm, digest = excluded.digest, metadata = excluded.metadata, recorded_at = excluded.recorded_at;
END $$;

-- As complete_1. Adds the record of the stored file.
CREATE OR REPLACE FUNCTION ospd.complete_2(p_user text, p_name text, p_token bigint, p_until float8) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_record ospd.transfer;
BEGIN
  SELECT t.* INTO v_record FROM ospd.transfer t WHERE t.user_name = p_user AND t.name = p_name AND t.token = p_token FOR UPDATE;
  IF v_record.verified IS NOT NULL THEN
    PERFORM ospd.record_files_2(ARRAY[v_record.verified], ARRAY[v_record.verified_stamp], ARRAY[v_record.modified_at], ARRAY[v_record.metadata]);
  END IF;
  RETURN ospd.complete_1(p_user, p_name, p_token, p_until);
END $$;

-- As settle_1. Adds the records of the published files.
CREATE OR REPLACE FUNCTION ospd.settle_2(p_users text[], p_names text[], p_sources text[], p_stored boolean[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ospd.record_files_2(array_agg(m.file), array_agg(m.version), array_agg(m.modified_at), array_agg(m.file->'metadata'))
    FROM unnest(p_users, p_names, p_sources, p_stored) u (user_name, name, source, stored)
    JOIN ospd.marker m ON m.user_name = u.user_name AND m.name = u.name AND m.source = u.source
   WHERE u.stored HAVING count(*) > 0;
  PERFORM ospd.settle_1(p_users, p_names, p_sources, p_stored);
END $$;

-- As report_1, for files with these digests. A file without a digest is marked in any case.
CREATE OR REPLACE FUNCTION ospd.report_2(p_users text[], p_names text[], p_digests text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM ospd.marker m JOIN unnest(p_users, p_names) u (user_name, name) USING (user_name, name)
    ORDER BY m.user_name, m.name FOR NO KEY UPDATE OF m;
  UPDATE ospd.marker m SET reported = true
    FROM unnest(p_users, p_names, p_digests) u (user_name, name, digest)
   WHERE m.user_name = u.user_name AND m.name = u.name AND NOT m.reported AND m.file->>'digest' = coalesce(u.digest, m.file->>'digest');
END $$;

-- As begin_claim_1, with the records and the changes of the stored files of the name "p_store_as".
CREATE OR REPLACE FUNCTION ospd.begin_claim_2(p_user text, p_name text, p_session uuid, p_server bigint, p_link bigint, p_store_as text)
RETURNS TABLE (record jsonb, is_held boolean, marker jsonb, unpublished text, other_names text[], uploads int, held int, bytes bigint, reserved jsonb,
  announced jsonb, added jsonb, all_uploads int, files jsonb, changes jsonb)
LANGUAGE plpgsql AS $$
BEGIN
  -- The lock of the user is taken before the records are read.
  PERFORM pg_advisory_xact_lock(1, hashtext(p_user));
  RETURN QUERY SELECT b.*, (SELECT jsonb_agg(to_jsonb(f) ORDER BY f.version) FROM ospd.file f WHERE f.user_name = p_user AND f.name = p_store_as),
      ospd.file_changes_2(p_user, ARRAY[p_store_as])
    FROM ospd.begin_claim_1(p_user, p_name, p_session, p_server, p_link) b;
END $$;

-- As grant_claim_1, with the metadata of the upload and the name under which it is to be stored.
CREATE OR REPLACE FUNCTION ospd.grant_claim_2(p_user text, p_name text, p_session uuid, p_server bigint, p_link bigint, p_instance bigint,
  p_size bigint, p_modified_at bigint, p_algorithm text, p_superseded uuid[], p_checkpoints bytea, p_durable bigint, p_reserved bigint,
  p_reserved_entries bigint,  p_verified jsonb, p_verified_stamp text, p_updated_at float8, p_drops_marker boolean, p_is_recovery boolean,
  p_metadata jsonb, p_store_as text)
RETURNS TABLE (record jsonb, former jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_granted record;
BEGIN
  SELECT * INTO v_granted FROM ospd.grant_claim_1(p_user, p_name, p_session, p_server, p_link, p_instance, p_size, p_modified_at, p_algorithm,
    p_superseded, p_checkpoints, p_durable, p_reserved, p_reserved_entries, p_verified, p_verified_stamp, p_updated_at, p_drops_marker,
    p_is_recovery);
  UPDATE ospd.transfer t SET metadata = p_metadata, store_as = p_store_as
   WHERE t.user_name = p_user AND t.name = p_name
     AND (t.metadata IS DISTINCT FROM p_metadata OR t.store_as IS DISTINCT FROM p_store_as);
  RETURN QUERY SELECT v_granted.record || jsonb_build_object('metadata', p_metadata, 'store_as', p_store_as), v_granted.former;
END $$;

-- Returns the changes of a user's files that have one of these names.
CREATE OR REPLACE FUNCTION ospd.file_changes_2(p_user text, p_names text[]) RETURNS jsonb STABLE LANGUAGE sql AS $$
  SELECT coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.fence), '[]') FROM ospd.file_change c
   WHERE c.user_name = p_user AND (c.name = ANY (p_names) OR c.new_name = ANY (p_names))
$$;

-- Records that a server removes or renames a file, in place of the changes "p_ended". Records nothing if other servers have begun
-- changes or announced files of these names, and returns these.
CREATE OR REPLACE FUNCTION ospd.begin_change_2(p_server bigint, p_fence text, p_user text, p_name text, p_new_name text, p_version text,
  p_ended text[], p_session uuid, p_link bigint, OUT changes jsonb, OUT unpublished jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_names text[] := ARRAY[p_name, coalesce(p_new_name, p_name)];
BEGIN
  PERFORM pg_advisory_xact_lock(1, hashtext(p_user));
  IF p_session IS NOT NULL THEN PERFORM ospd.check_session_1(p_user, p_session, p_server, p_link); END IF;
  IF EXISTS (SELECT FROM ospd.server s WHERE NOT s.dead AND s.version = '1') THEN
    RAISE EXCEPTION USING ERRCODE = 'OS005',
      MESSAGE = 'files can be removed and renamed after all servers of the cluster have been upgraded';
  END IF;
  IF EXISTS (SELECT FROM ospd.transfer t WHERE t.user_name = p_user AND t.verified->>'storedName' = ANY (v_names)) THEN
    RAISE EXCEPTION USING ERRCODE = 'OS005', MESSAGE = 'an upload of this file is about to be stored';
  END IF;
  -- What the upload has reserved can assume that it replaces the file.
  IF EXISTS (SELECT FROM ospd.transfer t WHERE t.user_name = p_user AND coalesce(t.store_as, t.name) = ANY (v_names) AND ospd.is_held_1(t)) THEN
    RAISE EXCEPTION USING ERRCODE = 'OS005', MESSAGE = 'a file of this name is being uploaded';
  END IF;
  DELETE FROM ospd.file_change c WHERE c.fence = ANY (p_ended);
  SELECT coalesce(jsonb_agg(c), '[]') INTO changes FROM jsonb_array_elements(ospd.file_changes_2(p_user, v_names)) c
   WHERE c->>'fence' <> p_fence;
  SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.name), '[]') INTO unpublished FROM ospd.marker m
   WHERE m.user_name = p_user AND m.source IS NOT NULL AND m.file->>'storedName' = ANY (v_names);
  IF changes <> '[]' OR unpublished <> '[]' THEN RETURN; END IF;
  INSERT INTO ospd.file_change (fence, user_name, name, new_name, version, server)
    VALUES (p_fence, p_user, p_name, p_new_name, p_version, p_server)
    ON CONFLICT (fence) DO NOTHING;
END $$;

-- Marks an upload as verified, unless there are changes of the stored file. Returns whether the claim is valid, and the changes.
CREATE OR REPLACE FUNCTION ospd.verify_2(p_user text, p_name text, p_token bigint, p_file jsonb, p_stamp text, OUT holds boolean,
  OUT changes jsonb) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(1, hashtext(p_user));
  PERFORM 1 FROM ospd.transfer t WHERE t.user_name = p_user AND t.name = p_name AND t.token = p_token FOR NO KEY UPDATE;
  holds := FOUND;
  changes := CASE WHEN holds THEN ospd.file_changes_2(p_user, ARRAY[p_file->>'storedName']) ELSE '[]' END;
  IF NOT holds OR changes <> '[]' THEN RETURN; END IF;
  UPDATE ospd.transfer t SET verified = p_file, verified_stamp = p_stamp
   WHERE t.user_name = p_user AND t.name = p_name AND t.token = p_token;
END $$;

-- As announce_1, unless there are changes of the stored files, which are returned.
CREATE OR REPLACE FUNCTION ospd.announce_2(p_server bigint, p_users text[], p_names text[], p_files jsonb[], p_modified_at bigint[],
  p_versions text[], p_sources text[], p_replaces text[], p_growth bigint[], p_entries bigint[], p_room jsonb, p_until float8, p_user text,
  p_session uuid, p_link bigint)
RETURNS TABLE (unpublished jsonb, is_over_quota boolean, ended jsonb, changes jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_changes jsonb;
BEGIN
  PERFORM pg_advisory_xact_lock(1, h.hash) FROM (SELECT DISTINCT hashtext(u) AS hash FROM unnest(p_users) u ORDER BY 1) h;
  SELECT coalesce(jsonb_agg(DISTINCT to_jsonb(c)), '[]') INTO v_changes FROM unnest(p_files) f
    JOIN ospd.file_change c ON c.user_name = f->>'user' AND (c.name = f->>'storedName' OR c.new_name = f->>'storedName');
  IF v_changes <> '[]' THEN
    RETURN QUERY SELECT '[]'::jsonb, false, '[]'::jsonb, v_changes;
    RETURN;
  END IF;
  RETURN QUERY SELECT a.*, v_changes FROM ospd.announce_1(p_server, p_users, p_names, p_files, p_modified_at, p_versions, p_sources, p_replaces,
    p_growth, p_entries, p_room, p_until, p_user, p_session, p_link) a;
END $$;
`
