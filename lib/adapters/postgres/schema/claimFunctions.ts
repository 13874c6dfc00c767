/** The steps of claims. */
export const claimFunctions = `
-- Returns whether an instance of a live server receives the upload.
CREATE FUNCTION ospd.is_held_1(t ospd.transfer) RETURNS boolean STABLE LANGUAGE sql AS $$
  SELECT t.held AND ospd.lives_1(t.server)
$$;

-- Returns whether a completion marker has not expired.
CREATE FUNCTION ospd.is_valid_1(m ospd.marker) RETURNS boolean STABLE LANGUAGE sql AS $$
  SELECT m.until >= extract(epoch FROM clock_timestamp()) * 1000
$$;

-- Rejects requests of a link that is no longer the link of its session. The session cannot change before the end of the
-- transaction.
CREATE FUNCTION ospd.check_session_1(p_user text, p_session uuid, p_server bigint, p_link bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM ospd.session s
    WHERE s.user_name = p_user AND s.session = p_session AND s.server = p_server AND s.link = p_link FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OS001', MESSAGE = 'the session has another link, or its server was declared dead';
  END IF;
END $$;

-- Returns what announced files of a user may still add to the quota, except those of some names and those of a server.
CREATE FUNCTION ospd.announced_1(p_user text, p_except text[], p_server bigint) RETURNS jsonb STABLE LANGUAGE sql AS $$
  SELECT jsonb_build_object('growth', coalesce(sum(m.growth), 0), 'entries', coalesce(sum(m.entries), 0)) FROM ospd.marker m
   WHERE m.user_name = p_user AND m.source IS NOT NULL AND m.name <> ALL (p_except) AND m.server IS DISTINCT FROM p_server
$$;

-- Returns what the published files of a user have added to the quota.
CREATE FUNCTION ospd.added_1(p_user text) RETURNS jsonb STABLE LANGUAGE sql AS $$
  SELECT jsonb_build_object('growth', coalesce(max(a.growth), 0), 'entries', coalesce(max(a.entries), 0))
    FROM ospd.added a WHERE a.user_name = p_user
$$;

-- Adds to what the published files of a user have added to the quota.
CREATE FUNCTION ospd.add_1(p_user text, p_growth numeric, p_entries numeric) RETURNS void LANGUAGE sql AS $$
  INSERT INTO ospd.added AS a (user_name, growth, entries) VALUES (p_user, p_growth, p_entries)
    ON CONFLICT (user_name) DO UPDATE SET growth = a.growth + excluded.growth, entries = a.entries + excluded.entries
$$;

-- The first part of a claim by a link, or by the server itself (p_session is null): locks the user and the record until the end of
-- the transaction, and returns their present state.
CREATE FUNCTION ospd.begin_claim_1(p_user text, p_name text, p_session uuid, p_server bigint, p_link bigint)
RETURNS TABLE (record jsonb, is_held boolean, marker jsonb, unpublished text, other_names text[], uploads int, held int, bytes bigint, reserved jsonb,
  announced jsonb, added jsonb, all_uploads int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_record ospd.transfer;
BEGIN
  PERFORM pg_advisory_xact_lock(1, hashtext(p_user));
  -- Without a lock, so that the session can get another link while the claim decides. The last part checks it again.
  IF p_session IS NOT NULL AND NOT EXISTS (SELECT FROM ospd.session s
      WHERE s.user_name = p_user AND s.session = p_session AND s.server = p_server AND s.link = p_link) THEN
    PERFORM ospd.check_session_1(p_user, p_session, p_server, p_link);
  END IF;
  SELECT t.* INTO v_record FROM ospd.transfer t WHERE t.user_name = p_user AND t.name = p_name FOR UPDATE;
  RETURN QUERY SELECT
      CASE WHEN v_record.token IS NOT NULL THEN to_jsonb(v_record) END,
      v_record.token IS NOT NULL AND ospd.is_held_1(v_record),
      (SELECT to_jsonb(m) FROM ospd.marker m WHERE m.user_name = p_user AND m.name = p_name AND ospd.is_valid_1(m)),
      (SELECT m.source FROM ospd.marker m WHERE m.user_name = p_user AND m.name = p_name),
      coalesce(array_agg(t.name ORDER BY t.name), '{}'),
      count(*)::int,
      count(*) FILTER (WHERE t.receives)::int,
      coalesce(sum(CASE WHEN t.verified IS NULL THEN t.durable ELSE t.size END) FILTER (WHERE NOT t.receives), 0)::bigint,
      jsonb_build_object('growth', coalesce(sum(t.reserved) FILTER (WHERE t.receives), 0),
        'entries', coalesce(sum(t.reserved_entries) FILTER (WHERE t.receives), 0)),
      ospd.announced_1(p_user, ARRAY[p_name], NULL),
      ospd.added_1(p_user),
      (SELECT count(*)::int FROM ospd.transfer) - (v_record.token IS NOT NULL)::int
    FROM (SELECT o.name, o.size, o.durable, o.verified, o.reserved, o.reserved_entries, ospd.is_held_1(o) AS receives
            FROM ospd.transfer o WHERE o.user_name = p_user AND o.name <> p_name) t;
END $$;

-- Stores why the claim of a record that is replaced or removed has ended, and returns its token and its owner. A verified upload
-- may have been published.
CREATE FUNCTION ospd.end_claim_1(t ospd.transfer, p_why text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  IF t.token IS NULL THEN RETURN NULL; END IF;
  IF t.verified IS NOT NULL THEN PERFORM ospd.add_1(t.user_name, t.reserved, t.reserved_entries); END IF;
  INSERT INTO ospd.ended (token, why) VALUES (t.token, p_why) ON CONFLICT (token) DO NOTHING;
  RETURN jsonb_build_object('token', t.token, 'server', t.server, 'link', t.link);
END $$;

-- The last part of a claim that is granted. Returns the new record, and the former claim if there was one.
CREATE FUNCTION ospd.grant_claim_1(p_user text, p_name text, p_session uuid, p_server bigint, p_link bigint, p_instance bigint,
  p_size bigint, p_modified_at bigint, p_algorithm text, p_superseded uuid[], p_checkpoints bytea, p_durable bigint, p_reserved bigint,
  p_reserved_entries bigint,  p_verified jsonb, p_verified_stamp text, p_updated_at float8, p_drops_marker boolean, p_is_recovery boolean)
RETURNS TABLE (record jsonb, former jsonb) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_former ospd.transfer;
  v_record ospd.transfer;
  v_token bigint := nextval('ospd.claim_token');
BEGIN
  SELECT t.* INTO v_former FROM ospd.transfer t WHERE t.user_name = p_user AND t.name = p_name;
  INSERT INTO ospd.transfer AS t (user_name, name, size, modified_at, algorithm, token, server, link, instance, session, held, superseded,
      checkpoints, durable, reserved, reserved_entries, verified, verified_stamp, updated_at)
    VALUES (p_user, p_name, p_size, p_modified_at, p_algorithm, v_token, p_server, p_link, p_instance, p_session, true, p_superseded,
      p_checkpoints, p_durable, p_reserved, p_reserved_entries, p_verified, p_verified_stamp, p_updated_at)
    ON CONFLICT (user_name, name) DO UPDATE SET
      size = excluded.size, modified_at = excluded.modified_at, algorithm = excluded.algorithm, token = excluded.token,
      server = excluded.server, link = excluded.link, instance = excluded.instance, session = excluded.session, held = true,
      superseded = excluded.superseded, checkpoints = excluded.checkpoints, durable = excluded.durable, reserved = excluded.reserved,
      reserved_entries = excluded.reserved_entries,
      verified = excluded.verified, verified_stamp = excluded.verified_stamp, updated_at = excluded.updated_at
    RETURNING t.* INTO v_record;
  IF p_drops_marker THEN DELETE FROM ospd.marker m WHERE m.user_name = p_user AND m.name = p_name; END IF;
  IF p_is_recovery THEN PERFORM ospd.check_server_1(p_server);
  ELSE PERFORM ospd.check_session_1(p_user, p_session, p_server, p_link);
  END IF;
  RETURN QUERY SELECT to_jsonb(v_record), ospd.end_claim_1(v_former, 'superseded');
END $$;

-- The last part of a claim of an upload that is already complete.
CREATE FUNCTION ospd.refuse_claim_1(p_user text, p_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_record ospd.transfer;
BEGIN
  DELETE FROM ospd.transfer t WHERE t.user_name = p_user AND t.name = p_name RETURNING t.* INTO v_record;
  PERFORM ospd.end_claim_1(v_record, 'superseded');
END $$;
`
