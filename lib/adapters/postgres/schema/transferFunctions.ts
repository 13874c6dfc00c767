/** The steps of unfinished and completed uploads, except for claims. */
export const transferFunctions = `
-- Replaces the checkpoints of the uploads whose claims are valid, and returns the ordinals of these uploads.
CREATE FUNCTION ospd.checkpoint_1(p_users text[], p_names text[], p_tokens bigint[], p_durable bigint[],
  p_updated_at float8[], p_from int[], p_length int[], p_checkpoints bytea) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
  v_holds int[];
BEGIN
  -- All steps lock in this order, so that there is no deadlock.
  PERFORM 1 FROM ospd.transfer t JOIN unnest(p_users, p_names, p_tokens) u (user_name, name, token) USING (user_name, name, token)
    ORDER BY t.user_name, t.name FOR NO KEY UPDATE OF t;
  WITH u AS (
    SELECT * FROM unnest(p_users, p_names, p_tokens, p_durable, p_updated_at, p_from, p_length)
      WITH ORDINALITY u (user_name, name, token, durable, updated_at, f, l, o)),
  latest AS (
    SELECT DISTINCT ON (user_name, name, token) * FROM u ORDER BY user_name, name, token, o DESC),
  done AS (
    UPDATE ospd.transfer t SET checkpoints = substring(p_checkpoints FROM x.f FOR x.l), durable = x.durable,
        updated_at = x.updated_at
      FROM latest x WHERE t.user_name = x.user_name AND t.name = x.name AND t.token = x.token
    RETURNING t.user_name, t.name, t.token)
  SELECT coalesce(array_agg(u.o::int ORDER BY u.o), '{}') INTO v_holds FROM u JOIN done USING (user_name, name, token);
  RETURN v_holds;
END $$;

-- Replaces a verified record by a completion marker. Returns whether the claim is valid, or has already completed the upload.
CREATE FUNCTION ospd.complete_1(p_user text, p_name text, p_token bigint, p_until float8) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_record ospd.transfer;
BEGIN
  DELETE FROM ospd.transfer t WHERE t.user_name = p_user AND t.name = p_name AND t.token = p_token RETURNING t.* INTO v_record;
  IF NOT FOUND THEN
    RETURN EXISTS (SELECT FROM ospd.marker m WHERE m.user_name = p_user AND m.name = p_name AND m.token = p_token);
  END IF;
  IF v_record.verified IS NULL THEN RAISE EXCEPTION 'the upload % of % is not verified', p_name, p_user; END IF;
  PERFORM ospd.add_1(p_user, v_record.reserved, v_record.reserved_entries);
  INSERT INTO ospd.marker (user_name, name, file, modified_at, version, token, server, until)
    VALUES (p_user, p_name, v_record.verified, v_record.modified_at, v_record.verified_stamp, p_token, v_record.server, p_until)
    ON CONFLICT (user_name, name) DO UPDATE SET file = excluded.file, modified_at = excluded.modified_at, version = excluded.version,
      token = excluded.token, source = NULL, growth = 0, entries = 0, server = excluded.server, reported = false, until = excluded.until;
  RETURN true;
END $$;

-- Returns whether files of a user with these names fit the quota beside the other files. The user is locked.
CREATE FUNCTION ospd.fits_1(p_user text, p_names text[], p_growth bigint[], p_entries bigint[], p_room jsonb)
RETURNS boolean STABLE LANGUAGE plpgsql AS $$
DECLARE
  v_growth numeric := (SELECT sum(g) FROM unnest(p_growth) g);
  v_entries numeric := (SELECT sum(e) FROM unnest(p_entries) e);
  v_announced jsonb := ospd.announced_1(p_user, p_names, NULL);
  v_added jsonb := ospd.added_1(p_user);
  v_others record;
BEGIN
  SELECT coalesce(sum(CASE WHEN o.receives THEN o.reserved
             ELSE CASE WHEN o.verified IS NULL THEN o.durable ELSE o.size END + (p_room->>'entryBytes')::numeric END), 0) AS growth,
         coalesce(sum(CASE WHEN o.receives THEN o.reserved_entries ELSE 1 END), 0) AS entries
    INTO v_others
    FROM (SELECT t.*, ospd.is_held_1(t) AS receives FROM ospd.transfer t WHERE t.user_name = p_user AND t.name <> ALL (p_names)) o;
  RETURN (v_growth <= 0 OR v_growth + v_others.growth + (v_announced->>'growth')::numeric + (v_added->>'growth')::numeric
      <= (p_room->>'growth')::numeric)
    AND (v_entries <= 0 OR v_entries + v_others.entries + (v_announced->>'entries')::numeric + (v_added->>'entries')::numeric
      <= (p_room->>'entries')::numeric);
END $$;

-- Stores completion markers of files that are about to be stored, by a link of a session or without one (p_session is null), and
-- removes the records of these names. Stores nothing if a marker of these names has a source that is not in p_replaces, or if the
-- files of the user would exceed p_room. Returns the files with such a source, whether they exceed it, and the claims of the
-- removed records.
CREATE FUNCTION ospd.announce_1(p_server bigint, p_users text[], p_names text[], p_files jsonb[], p_modified_at bigint[], p_versions text[],
  p_sources text[], p_replaces text[], p_growth bigint[], p_entries bigint[], p_room jsonb, p_until float8, p_user text, p_session uuid,
  p_link bigint)
RETURNS TABLE (unpublished jsonb, is_over_quota boolean, ended jsonb) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_record ospd.transfer;
  v_unpublished jsonb;
  v_ended jsonb := '[]';
BEGIN
  -- A claim that decides about one of these names has seen their markers.
  PERFORM pg_advisory_xact_lock(1, h.hash) FROM (SELECT DISTINCT hashtext(u) AS hash FROM unnest(p_users) u ORDER BY 1) h;
  SELECT jsonb_agg(jsonb_build_object('user', m.user_name, 'name', m.name, 'source', m.source) ORDER BY u.o) INTO v_unpublished
    FROM unnest(p_users, p_names, p_sources, p_replaces) WITH ORDINALITY u (user_name, name, source, replaces, o)
    JOIN ospd.marker m ON m.user_name = u.user_name AND m.name = u.name
   WHERE m.source IS NOT NULL AND m.source IS DISTINCT FROM u.source AND m.source IS DISTINCT FROM u.replaces;
  IF v_unpublished IS NOT NULL THEN
    RETURN QUERY SELECT v_unpublished, false, v_ended;
    RETURN;
  END IF;
  IF p_room IS NOT NULL AND NOT ospd.fits_1(p_users[1], p_names, p_growth, p_entries, p_room) THEN
    RETURN QUERY SELECT '[]'::jsonb, true, v_ended;
    RETURN;
  END IF;
  -- The earlier files may have been published.
  PERFORM ospd.add_1(a.user_name, a.growth, a.entries) FROM (
    SELECT m.user_name, sum(m.growth) AS growth, sum(m.entries) AS entries
      FROM unnest(p_users, p_names, p_sources) u (user_name, name, source)
      JOIN ospd.marker m ON m.user_name = u.user_name AND m.name = u.name
     WHERE m.source IS NOT NULL AND m.source IS DISTINCT FROM u.source
     GROUP BY m.user_name ORDER BY m.user_name) a;
  FOR v_record IN
    SELECT t.* FROM ospd.transfer t JOIN unnest(p_users, p_names) u (user_name, name) USING (user_name, name)
      ORDER BY t.user_name, t.name FOR UPDATE OF t
  LOOP
    DELETE FROM ospd.transfer t WHERE t.user_name = v_record.user_name AND t.name = v_record.name;
    v_ended := v_ended || (jsonb_build_object('user', v_record.user_name, 'name', v_record.name)
      || ospd.end_claim_1(v_record, 'superseded'));
  END LOOP;
  INSERT INTO ospd.marker (user_name, name, file, modified_at, version, source, growth, entries, server, until)
    SELECT u.user_name, u.name, u.file, u.modified_at, u.version, u.source, u.growth, u.entries, p_server, p_until
      FROM unnest(p_users, p_names, p_files, p_modified_at, p_versions, p_sources, p_growth, p_entries)
        u (user_name, name, file, modified_at, version, source, growth, entries)
      ORDER BY u.user_name, u.name
    ON CONFLICT (user_name, name) DO UPDATE SET file = excluded.file, modified_at = excluded.modified_at, version = excluded.version,
      token = NULL, source = excluded.source, growth = excluded.growth, entries = excluded.entries, server = excluded.server, reported = false, until = excluded.until;
  IF p_session IS NOT NULL THEN PERFORM ospd.check_session_1(p_user, p_session, p_server, p_link); END IF;
  RETURN QUERY SELECT '[]'::jsonb, false, v_ended;
END $$;

-- Records which announced files were published, and removes the markers of the others.
CREATE FUNCTION ospd.settle_1(p_users text[], p_names text[], p_sources text[], p_stored boolean[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM ospd.marker m JOIN unnest(p_users, p_names) u (user_name, name) USING (user_name, name)
    ORDER BY m.user_name, m.name FOR NO KEY UPDATE OF m;
  -- Also those that are not published, since a fault can have followed a rename.
  PERFORM ospd.add_1(a.user_name, a.growth, a.entries) FROM (
    SELECT m.user_name, sum(m.growth) AS growth, sum(m.entries) AS entries
      FROM unnest(p_users, p_names, p_sources) u (user_name, name, source)
      JOIN ospd.marker m ON m.user_name = u.user_name AND m.name = u.name AND m.source = u.source
     GROUP BY m.user_name ORDER BY m.user_name) a;
  UPDATE ospd.marker m SET source = NULL FROM unnest(p_users, p_names, p_sources, p_stored) u (user_name, name, source, stored)
   WHERE m.user_name = u.user_name AND m.name = u.name AND m.source = u.source AND u.stored;
  DELETE FROM ospd.marker m USING unnest(p_users, p_names, p_sources, p_stored) u (user_name, name, source, stored)
   WHERE m.user_name = u.user_name AND m.name = u.name AND m.source = u.source AND NOT u.stored;
END $$;

-- Records that no instance receives these uploads any more.
CREATE FUNCTION ospd.release_1(p_users text[], p_names text[], p_tokens bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM ospd.transfer t JOIN unnest(p_users, p_names, p_tokens) u (user_name, name, token) USING (user_name, name, token)
    ORDER BY t.user_name, t.name FOR NO KEY UPDATE OF t;
  UPDATE ospd.transfer t SET held = false, released = t.token
    FROM unnest(p_users, p_names, p_tokens) u (user_name, name, token)
   WHERE t.user_name = u.user_name AND t.name = u.name AND t.token = u.token;
END $$;

-- Removes a record, by a link of a session or by the server itself ("p_session" is null), and only with this token unless "p_token"
-- is null. Returns the claim of the record.
CREATE FUNCTION ospd.remove_transfer_1(p_user text, p_name text, p_token bigint, p_session uuid, p_server bigint, p_link bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_record ospd.transfer;
BEGIN
  DELETE FROM ospd.transfer t WHERE t.user_name = p_user AND t.name = p_name AND t.token = coalesce(p_token, t.token)
    RETURNING t.* INTO v_record;
  IF p_session IS NOT NULL THEN PERFORM ospd.check_session_1(p_user, p_session, p_server, p_link); END IF;
  RETURN ospd.end_claim_1(v_record, 'cancelled');
END $$;

-- Removes a record that is not verified and was last changed before p_before. Only a link of a session (p_session is not null)
-- removes one that is held. Returns the record.
CREATE FUNCTION ospd.expire_transfer_1(p_user text, p_name text, p_before float8, p_session uuid, p_server bigint, p_link bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_record ospd.transfer;
BEGIN
  DELETE FROM ospd.transfer t
    WHERE t.user_name = p_user AND t.name = p_name AND t.verified IS NULL AND t.updated_at < p_before
      AND (p_session IS NOT NULL OR NOT ospd.is_held_1(t))
    RETURNING t.* INTO v_record;
  IF p_session IS NOT NULL THEN PERFORM ospd.check_session_1(p_user, p_session, p_server, p_link); END IF;
  IF v_record.token IS NULL THEN RETURN NULL; END IF;
  PERFORM ospd.end_claim_1(v_record, 'cancelled');
  RETURN to_jsonb(v_record);
END $$;

-- Marks files as reported.
CREATE FUNCTION ospd.report_1(p_users text[], p_names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM ospd.marker m JOIN unnest(p_users, p_names) u (user_name, name) USING (user_name, name)
    ORDER BY m.user_name, m.name FOR NO KEY UPDATE OF m;
  UPDATE ospd.marker m SET reported = true
    FROM unnest(p_users, p_names) u (user_name, name) WHERE m.user_name = u.user_name AND m.name = u.name AND NOT m.reported;
END $$;

-- Removes reported markers that are no longer valid, and the oldest if there are more than "p_most" by the statistics of the
-- table.
CREATE FUNCTION ospd.drop_markers_1(p_most int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_over bigint := (SELECT c.reltuples::bigint - p_most FROM pg_class c WHERE c.oid = 'ospd.marker'::regclass);
BEGIN
  DELETE FROM ospd.marker WHERE reported AND until < extract(epoch FROM clock_timestamp()) * 1000;
  IF v_over > 0 THEN
    DELETE FROM ospd.marker m USING (SELECT user_name, name FROM ospd.marker WHERE reported ORDER BY until LIMIT v_over) o
     WHERE m.user_name = o.user_name AND m.name = o.name;
  END IF;
END $$;
`
