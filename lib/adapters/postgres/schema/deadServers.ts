import { raisedBy, raisedByBlocks } from '../../cluster/steps.ts'

/** The steps that end servers, or compare them with the database. */
export const deadServerFunctions = `
-- Ends servers that leave ("p_by" is null), or declares the servers dead whose lease has expired, if "p_by" is alive. Returns the
-- servers that have ended.
CREATE FUNCTION ospd.end_servers_1(p_servers bigint[], p_by bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  v_ended bigint[];
  v_boxes int[];
BEGIN
  -- Boxes are locked before servers, as for appended messages.
  SELECT coalesce(array_agg(id), '{}') INTO v_boxes FROM (
    SELECT id FROM ospd.box WHERE reader = ANY (p_servers) ORDER BY id FOR NO KEY UPDATE) b;
  WITH ended AS (
    UPDATE ospd.server SET dead = true, lease_until = least(lease_until, clock_timestamp()), presence_version = presence_version + 1
     WHERE id = ANY (p_servers) AND NOT dead AND (p_by IS NULL OR (lease_until < clock_timestamp() AND ospd.lives_1(p_by)))
    RETURNING id)
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO v_ended FROM ended;
  -- All messages of the boxes may have been handed out. The next registration treats a box that is not locked in the same way.
  UPDATE ospd.box SET handed = greatest(handed, last_seq), reader = NULL, reader_link = NULL, reader_session = NULL
   WHERE id = ANY (v_boxes) AND reader = ANY (v_ended);
  PERFORM 1 FROM ospd.transfer WHERE held AND server = ANY (v_ended) ORDER BY user_name, name FOR NO KEY UPDATE;
  UPDATE ospd.transfer SET held = false WHERE held AND server = ANY (v_ended);
  DELETE FROM ospd.presence WHERE server = ANY (v_ended);
  DELETE FROM ospd.session WHERE server = ANY (v_ended);
  RETURN v_ended;
END $$;

-- Compares the database with the state that a server has seen. The sequences alone do not show that the database has gone back to an
-- earlier state: those of a standby can be ahead of the last value that was drawn.
CREATE FUNCTION ospd.compare_1(p_server bigint, p_boot text, p_stored bigint, p_presence bigint, p_seq bigint, p_token bigint, p_block bigint,
  OUT is_behind boolean, OUT messages bigint, OUT is_member boolean) STABLE LANGUAGE plpgsql AS $$
DECLARE
  v_server ospd.server;
BEGIN
  SELECT * INTO v_server FROM ospd.server WHERE id = p_server;
  -- The row of a server that was declared dead long ago is removed.
  is_member := coalesce(v_server.boot = p_boot, (SELECT last_value FROM ospd.server_id_seq) >= p_server);
  messages := CASE WHEN NOT is_member THEN p_stored WHEN v_server.id IS NULL THEN 0 ELSE greatest(p_stored - v_server.stored, 0) END;
  is_behind := NOT is_member OR messages > 0 OR coalesce(v_server.presence_version < p_presence, false)
    OR (SELECT last_value FROM ospd.message_seq) < p_seq OR (SELECT last_value FROM ospd.claim_token) < p_token
    OR (SELECT last_value FROM ospd.link_block) < p_block;
END $$;

-- Raises the sequences above the values that a server has seen, and the version of the users.
CREATE FUNCTION ospd.raise_1(p_server bigint, p_seq bigint, p_token bigint, p_block bigint) RETURNS void LANGUAGE sql AS $$
  SELECT setval('ospd.message_seq', greatest(last_value, p_seq + ${raisedBy})) FROM ospd.message_seq;
  SELECT setval('ospd.claim_token', greatest(last_value, p_token + ${raisedBy})) FROM ospd.claim_token;
  SELECT setval('ospd.link_block', greatest(last_value, p_block + ${raisedByBlocks})) FROM ospd.link_block;
  SELECT setval('ospd.server_id_seq', greatest(last_value, p_server + ${raisedBy})) FROM ospd.server_id_seq;
  UPDATE ospd.users_version SET version = version + ${raisedBy};
$$;

-- Runs first on each connection. A standby that was promoted may lack numbers that were used, so all numbers are raised before
-- another one is drawn. Returns the timeline.
CREATE FUNCTION ospd.connect_1() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v_timeline text := ospd.timeline_1();
BEGIN
  IF v_timeline IS NULL OR v_timeline = (SELECT timeline FROM ospd.meta) THEN RETURN v_timeline; END IF;
  UPDATE ospd.meta SET timeline = v_timeline WHERE timeline IS DISTINCT FROM v_timeline;
  -- Otherwise another connection has raised them.
  IF FOUND THEN
    PERFORM ospd.raise_1(i.last_value, s.last_value, t.last_value, b.last_value)
      FROM ospd.server_id_seq i, ospd.message_seq s, ospd.claim_token t, ospd.link_block b;
  END IF;
  RETURN v_timeline;
END $$;

-- Declares the servers dead whose lease has expired, and removes rows that are no longer needed. One server does it at a time.
CREATE FUNCTION ospd.declare_dead_1(p_by bigint, p_markers int) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  v_over bigint[];
  v_ended bigint[] := '{}';
BEGIN
  IF NOT pg_try_advisory_xact_lock(2, 0) OR NOT ospd.lives_1(p_by) THEN RETURN v_ended; END IF;
  SELECT array_agg(id) INTO v_over FROM ospd.server WHERE NOT dead AND lease_until < clock_timestamp();
  IF v_over IS NOT NULL THEN v_ended := ospd.end_servers_1(v_over, p_by); END IF;
  WITH old AS (
    DELETE FROM ospd.server WHERE dead AND lease_until < clock_timestamp() - interval '1 day' RETURNING id, messages, bytes, ids, age),
  sums AS (
    SELECT sum(messages) AS messages, sum(bytes) AS bytes, sum(ids) AS ids, max(age) AS age FROM old HAVING count(*) > 0)
  UPDATE ospd.server s SET messages = s.messages + o.messages, bytes = s.bytes + o.bytes, ids = s.ids + o.ids, age = greatest(s.age, o.age)
    FROM sums o WHERE s.id = p_by;
  DELETE FROM ospd.refused WHERE refused_at < clock_timestamp() - interval '10 minutes';
  DELETE FROM ospd.ended WHERE ended_at < clock_timestamp() - interval '10 minutes';
  PERFORM ospd.drop_markers_1(p_markers);
  RETURN v_ended;
END $$;
`
