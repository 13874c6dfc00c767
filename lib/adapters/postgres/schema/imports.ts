/** The table of imports. */
export const importTables = `
-- The imports of the storages of single servers. While one is not finished, no server enters.
CREATE TABLE ospd.import (
  id text PRIMARY KEY, -- identifies the state of the storage
  place text NOT NULL,
  server bigint NOT NULL, -- a row of "server", which is dead, with the counters of what the import adds
  seq_shift bigint NOT NULL,
  age_shift float8 NOT NULL,
  began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz
);
`

/** The steps of imports. Each changes nothing that exists, so that an interrupted import can be repeated. */
export const importFunctions = `
-- Adds a server with a new lease, or returns the number of the server with this boot. No import begins before the end of the transaction.
CREATE FUNCTION ospd.enter_1(p_name text, p_boot text, p_version text, p_address text, p_lease_ms float8) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  v_place text;
  v_server bigint;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(3, 0);
  SELECT i.place INTO v_place FROM ospd.import i WHERE i.finished_at IS NULL;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OS004',
      MESSAGE = format('the import of %s into this cluster is not finished; repeat "ospd cluster import"', v_place);
  END IF;
  INSERT INTO ospd.server AS s (name, boot, version, address, lease_until)
    VALUES (p_name, p_boot, p_version, p_address, clock_timestamp() + p_lease_ms * interval '1 ms')
    ON CONFLICT (boot) DO UPDATE SET lease_until = CASE WHEN s.dead THEN s.lease_until ELSE excluded.lease_until END
    RETURNING s.id INTO v_server;
  RETURN v_server;
END $$;

-- Begins an import, or returns the one that was begun with this id.
CREATE FUNCTION ospd.begin_import_1(p_id text, p_place text, p_last_seq bigint, p_last_time float8) RETURNS ospd.import
LANGUAGE plpgsql AS $$
DECLARE
  r ospd.import;
  v_text text;
  v_seq bigint;
  v_time float8;
BEGIN
  PERFORM pg_advisory_xact_lock(3, 0);
  SELECT * INTO r FROM ospd.import WHERE id = p_id;
  IF FOUND THEN RETURN r; END IF;
  SELECT place INTO v_text FROM ospd.import WHERE finished_at IS NULL;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OS004', MESSAGE = format('the import of %s into this cluster is not finished', v_text);
  END IF;
  SELECT string_agg(format('%s at %s', name, address), ', ' ORDER BY id) INTO v_text
    FROM ospd.server WHERE NOT dead AND lease_until > clock_timestamp();
  IF v_text IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'OS003', MESSAGE = format('servers of the cluster are running: %s; stop them, and try again', v_text);
  END IF;
  -- A server that was paused must not continue.
  PERFORM ospd.end_servers_1(ARRAY(SELECT id FROM ospd.server WHERE NOT dead), NULL);
  SELECT greatest((SELECT max(last_seq) FROM ospd.box), (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM ospd.message_seq), 0)
    INTO v_seq;
  IF v_seq + p_last_seq > 0 THEN PERFORM setval('ospd.message_seq', v_seq + p_last_seq); END IF;
  SELECT greatest((SELECT max(age) FROM ospd.server), (SELECT age FROM ospd.meta), 0) INTO v_time;
  r.id := p_id;
  r.place := p_place;
  r.seq_shift := v_seq;
  r.age_shift := CASE WHEN v_time > 0 THEN least(0, v_time - p_last_time) ELSE 0 END;
  INSERT INTO ospd.server (name, boot, version, address, lease_until, dead, age)
    VALUES ('imported', 'imported ' || p_id, '', p_place, clock_timestamp(), true, p_last_time + r.age_shift)
    RETURNING server.id INTO r.server;
  INSERT INTO ospd.import (id, place, server, seq_shift, age_shift) VALUES (r.id, r.place, r.server, r.seq_shift, r.age_shift)
    RETURNING * INTO r;
  RETURN r;
END $$;

-- Adds users that do not exist. Returns a name that looks like one of them, without a change, if there is one.
CREATE FUNCTION ospd.import_users_1(p_names text[], p_alike text[], p_hashes text[], p_since float8[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  v_other text;
BEGIN
  UPDATE ospd.users_version SET version = version + 1;
  SELECT a.name INTO v_other FROM unnest(p_names, p_alike) u (name, alike) JOIN ospd.app_user a ON a.alike = u.alike AND a.name <> u.name
    LIMIT 1;
  IF FOUND THEN RETURN v_other; END IF;
  INSERT INTO ospd.app_user (name, alike, token_hash, since)
    SELECT u.name, u.alike, decode(u.hash, 'hex'), to_timestamp(u.since / 1000)
      FROM unnest(p_names, p_alike, p_hashes, p_since) u (name, alike, hash, since)
    ON CONFLICT (name) DO NOTHING;
  RETURN NULL;
END $$;

-- Adds messages that do not exist, with their seqs. The parameters are those of post_1; p_aside belongs to the deliveries.
CREATE FUNCTION ospd.import_messages_1(p_server bigint, p_users text[], p_seq bigint[], p_sender int[], p_id uuid[], p_sent bigint[],
  p_stored float8[], p_from int[], p_len int[], p_content bytea, p_message int[], p_to int[], p_aside boolean[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  v_box int[] := ospd.lock_boxes_1(p_users, true);
  v_recipients int[] := array_fill(0, ARRAY[cardinality(p_seq)]);
  v_o int;
BEGIN
  FOREACH v_o IN ARRAY p_message LOOP v_recipients[v_o] := v_recipients[v_o] + 1; END LOOP;
  INSERT INTO ospd.body (seq, content)
    SELECT p_seq[o], substring(p_content FROM p_from[o] FOR p_len[o]) FROM generate_subscripts(p_seq, 1) o
      WHERE p_len[o] > 2000 AND v_recipients[o] > 1
    ON CONFLICT DO NOTHING;
  WITH added AS (
    INSERT INTO ospd.mail AS m (box, seq, sender, id, sent_at, stored_at, bytes, aside, content)
      SELECT v_box[d.t], p_seq[d.m], v_box[p_sender[d.m]], p_id[d.m], p_sent[d.m], p_stored[d.m], p_len[d.m], d.aside,
             CASE WHEN p_len[d.m] <= 2000 OR v_recipients[d.m] = 1 THEN substring(p_content FROM p_from[d.m] FOR p_len[d.m]) END
        FROM unnest(p_message, p_to, p_aside) d (m, t, aside)
      ON CONFLICT DO NOTHING RETURNING m.box, m.bytes, m.seq),
  sums AS (SELECT box, count(*)::int AS n, sum(bytes)::bigint AS bytes, max(seq) AS seq FROM added GROUP BY box),
  counted AS (
    UPDATE ospd.box b SET messages = b.messages + s.n, bytes = b.bytes + s.bytes, last_seq = greatest(b.last_seq, s.seq),
        handed = greatest(b.handed, s.seq)
      FROM sums s WHERE b.id = s.box RETURNING s.n, s.bytes)
  UPDATE ospd.server s
     SET messages = s.messages + (SELECT coalesce(sum(n), 0) FROM counted), bytes = s.bytes + (SELECT coalesce(sum(c.bytes), 0) FROM counted c)
   WHERE s.id = p_server;
END $$;

-- Adds ids of messages that are not remembered.
CREATE FUNCTION ospd.import_ids_1(p_server bigint, p_users text[], p_sender int[], p_id uuid[], p_print int[], p_stored float8[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  v_box int[] := ospd.lock_boxes_1(p_users, true);
BEGIN
  WITH added AS (
    INSERT INTO ospd.sent AS t (sender, id, print, stored_at)
      SELECT v_box[u.s], u.i, u.p, u.at FROM unnest(p_sender, p_id, p_print, p_stored) u (s, i, p, at)
      ON CONFLICT DO NOTHING RETURNING t.sender),
  sums AS (SELECT sender, count(*)::int AS n FROM added GROUP BY sender),
  counted AS (UPDATE ospd.box b SET ids = b.ids + s.n FROM sums s WHERE b.id = s.sender RETURNING s.n)
  UPDATE ospd.server s SET ids = s.ids + (SELECT coalesce(sum(n), 0) FROM counted) WHERE s.id = p_server;
END $$;
`
