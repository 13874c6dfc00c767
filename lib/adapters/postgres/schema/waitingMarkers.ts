/** The steps that do not replace the markers of files that were not reported, nor verified records. */
export const waitingMarkerFunctions = `
-- Returns whether a completion marker must not be replaced: its file was not reported, or may not be published yet.
CREATE OR REPLACE FUNCTION ospd.is_waiting_3(m ospd.marker) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
  SELECT NOT m.reported OR m.source IS NOT NULL
$$;

-- As verify_2. Returns the marker of this name if it must not be replaced. The upload is then not marked.
CREATE OR REPLACE FUNCTION ospd.verify_3(p_user text, p_name text, p_token bigint, p_file jsonb, p_stamp text, OUT holds boolean,
  OUT changes jsonb, OUT waiting jsonb) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(1, hashtext(p_user));
  SELECT coalesce(jsonb_agg(to_jsonb(m)), '[]') INTO waiting FROM ospd.marker m
   WHERE m.user_name = p_user AND m.name = p_name AND ospd.is_waiting_3(m);
  IF waiting = '[]' THEN
    SELECT v.holds, v.changes INTO holds, changes FROM ospd.verify_2(p_user, p_name, p_token, p_file, p_stamp) v;
    RETURN;
  END IF;
  holds := EXISTS (SELECT FROM ospd.transfer t WHERE t.user_name = p_user AND t.name = p_name AND t.token = p_token);
  changes := '[]';
  IF NOT holds THEN waiting := '[]'; END IF;
END $$;

-- As announce_2. Returns the markers and the verified records of these names that must not be replaced. Nothing is then stored.
CREATE OR REPLACE FUNCTION ospd.announce_3(p_server bigint, p_users text[], p_names text[], p_files jsonb[], p_modified_at bigint[],
  p_versions text[], p_sources text[], p_growth bigint[], p_entries bigint[], p_room jsonb, p_until float8, p_user text, p_session uuid,
  p_link bigint)
RETURNS TABLE (waiting jsonb, unfinished jsonb, is_over_quota boolean, ended jsonb, changes jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_waiting jsonb;
  v_unfinished jsonb;
BEGIN
  PERFORM pg_advisory_xact_lock(1, h.hash) FROM (SELECT DISTINCT hashtext(u) AS hash FROM unnest(p_users) u ORDER BY 1) h;
  -- A repeated step finds its own markers.
  SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY u.o), '[]') INTO v_waiting
    FROM unnest(p_users, p_names, p_versions, p_sources) WITH ORDINALITY u (user_name, name, version, source, o)
    JOIN ospd.marker m ON m.user_name = u.user_name AND m.name = u.name
   WHERE ospd.is_waiting_3(m) AND (m.version, m.source) IS DISTINCT FROM (u.version, u.source);
  SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY u.o), '[]') INTO v_unfinished
    FROM unnest(p_users, p_names) WITH ORDINALITY u (user_name, name, o)
    JOIN ospd.transfer t ON t.user_name = u.user_name AND t.name = u.name
   WHERE t.verified IS NOT NULL;
  IF v_waiting <> '[]' OR v_unfinished <> '[]' THEN
    RETURN QUERY SELECT v_waiting, v_unfinished, false, '[]'::jsonb, '[]'::jsonb;
    RETURN;
  END IF;
  RETURN QUERY SELECT v_waiting, v_unfinished, a.is_over_quota, a.ended, a.changes
    FROM ospd.announce_2(p_server, p_users, p_names, p_files, p_modified_at, p_versions, p_sources,
      array_fill(NULL::text, ARRAY[cardinality(p_users)]), p_growth, p_entries, p_room, p_until, p_user, p_session, p_link) a;
END $$;

-- As begin_change_2. Returns the verified uploads of these names that no link holds. If there are any, nothing is recorded.
CREATE OR REPLACE FUNCTION ospd.begin_change_3(p_server bigint, p_fence text, p_user text, p_name text, p_new_name text, p_version text,
  p_ended text[], p_session uuid, p_link bigint, OUT changes jsonb, OUT unpublished jsonb, OUT unfinished jsonb) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(1, hashtext(p_user));
  IF p_session IS NOT NULL THEN PERFORM ospd.check_session_1(p_user, p_session, p_server, p_link); END IF;
  SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.name), '[]') INTO unfinished FROM ospd.transfer t
   WHERE t.user_name = p_user AND t.verified->>'storedName' IN (p_name, p_new_name) AND NOT ospd.is_held_1(t);
  IF unfinished <> '[]' THEN
    changes := '[]';
    unpublished := '[]';
    RETURN;
  END IF;
  SELECT c.changes, c.unpublished INTO changes, unpublished
    FROM ospd.begin_change_2(p_server, p_fence, p_user, p_name, p_new_name, p_version, p_ended, p_session, p_link) c;
END $$;

-- Marks files as reported whose markers have these versions. A file without a version is marked in any case.
CREATE OR REPLACE FUNCTION ospd.report_3(p_users text[], p_names text[], p_versions text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM ospd.marker m JOIN unnest(p_users, p_names) u (user_name, name) USING (user_name, name)
    ORDER BY m.user_name, m.name FOR NO KEY UPDATE OF m;
  UPDATE ospd.marker m SET reported = true
    FROM unnest(p_users, p_names, p_versions) u (user_name, name, version)
   WHERE m.user_name = u.user_name AND m.name = u.name AND NOT m.reported AND m.version = coalesce(u.version, m.version);
END $$;

-- Removes the marker of an upload with this digest, and makes the records of its file match no upload. Returns the marker if it must
-- not be removed.
CREATE OR REPLACE FUNCTION ospd.forget_3(p_user text, p_name text, p_store_as text, p_size bigint, p_modified_at bigint, p_algorithm text,
  p_digest text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_marker ospd.marker;
BEGIN
  SELECT m.* INTO v_marker FROM ospd.marker m
   WHERE m.user_name = p_user AND m.name = p_name AND m.modified_at = p_modified_at
     AND (m.file->>'size', m.file->>'algorithm', m.file->>'digest') = (p_size::text, p_algorithm, p_digest) FOR UPDATE;
  IF FOUND THEN
    IF ospd.is_waiting_3(v_marker) THEN RETURN to_jsonb(v_marker); END IF;
    DELETE FROM ospd.marker m WHERE m.user_name = p_user AND m.name = p_name;
  END IF;
  UPDATE ospd.file SET modified_at = NULL
   WHERE user_name = p_user AND name = p_store_as AND size = p_size AND modified_at = p_modified_at
     AND algorithm = p_algorithm AND digest = p_digest;
  RETURN NULL;
END $$;
`
