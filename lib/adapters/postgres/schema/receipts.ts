import { fixed } from '../../../limits.ts'

/** Whether the sender of a message expects a receipt from this mailbox. */
export const mailAsking = `
ALTER TABLE ospd.mail ADD COLUMN IF NOT EXISTS asks boolean NOT NULL DEFAULT false;
`

/** The messages in a mailbox whose senders expect receipts, and the receipts that the user of the mailbox expects. */
export const boxAsking = `
ALTER TABLE ospd.box ADD COLUMN IF NOT EXISTS asking int NOT NULL DEFAULT 0;
ALTER TABLE ospd.box ADD COLUMN IF NOT EXISTS expected int NOT NULL DEFAULT 0;
`

/**
 * The functions that store messages with receipts, and that append the receipts. The receipts of a user are in a mailbox of their
 * own. The row of a server counts each expected receipt as a message of ${fixed.receiptBytes} bytes.
 */
export const receiptFunctions = `
-- Locks the boxes of p_users and of the receipts of p_senders in one order. Adds those that are missing.
CREATE OR REPLACE FUNCTION ospd.lock_receipts_1(p_users text[], p_senders text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ospd.lock_boxes_1(
    ARRAY(SELECT unnest(p_users) UNION SELECT unnest(p_senders) UNION SELECT ':receipts:' || s FROM unnest(p_senders) s), true);
END $$;

/*
 * As post_limited_1, for messages some of which ask for receipts. p_asking: their positions, rising. If the senders of some of them have
 * too many receipts (p_receipts), these are returned, and no message is stored. The same applies while a server of schema version 1
 * runs: it would remove messages without receipts.
 */
CREATE OR REPLACE FUNCTION ospd.post_asking_1(
  p_server bigint, p_users text[],
  p_sender int[], p_id uuid[], p_print int[], p_sent bigint[], p_stored float8[], p_from int[], p_len int[], p_first int[],
  p_content bytea, p_message int[], p_to int[], p_pair int[],
  p_by int[], p_by_user int[], p_session uuid[], p_link bigint[],
  p_messages bigint, p_bytes bigint, p_sender_ids bigint, p_all_messages bigint, p_all_bytes bigint, p_all_ids bigint, p_share float8,
  p_limited int[], p_expires bigint[], p_asking int[], p_receipts bigint
) RETURNS TABLE (too_many int[], posted ospd.posted) LANGUAGE plpgsql AS $$
DECLARE
  v_senders text[] := ARRAY(SELECT DISTINCT p_users[p_sender[o]] FROM unnest(p_asking) o);
  v_opened bigint[];
  v_is_mixed boolean;
  -- By user: the receipts that the messages before this one ask for.
  v_taken int[] := array_fill(0, ARRAY[cardinality(p_users)]);
  v_total int := 0;
  v_o int;
  v_n int;
  v_last bigint;
  v_box int[];
  v_sender int[];
BEGIN
  PERFORM ospd.lock_receipts_1(p_users, v_senders);
  v_opened := ospd.opened_links_1(p_server, p_users, p_by_user, p_session, p_link);
  v_is_mixed := EXISTS (SELECT FROM ospd.server WHERE NOT dead AND lease_until > clock_timestamp() AND version = '1');
  FOREACH v_o IN ARRAY p_asking LOOP
    CONTINUE WHEN p_first[v_o] <> v_o OR (p_by[v_o] > 0 AND v_opened[p_by[v_o]] IS NULL)
      OR EXISTS (SELECT FROM ospd.sent t JOIN ospd.box s ON s.id = t.sender WHERE s.name = p_users[p_sender[v_o]] AND t.id = p_id[v_o]);
    v_n := (SELECT count(*) FROM unnest(p_message) m WHERE m = v_o);
    IF v_is_mixed OR (
      SELECT sum(CASE WHEN b.name = p_users[p_sender[v_o]] THEN b.expected ELSE b.messages END) FROM ospd.box b
       WHERE b.name IN (p_users[p_sender[v_o]], ':receipts:' || p_users[p_sender[v_o]])) + v_taken[p_sender[v_o]] + v_n > p_receipts
    THEN
      too_many := too_many || v_o;
    ELSE
      v_taken[p_sender[v_o]] := v_taken[p_sender[v_o]] + v_n;
      v_total := v_total + v_n;
    END IF;
  END LOOP;
  IF too_many IS NOT NULL THEN
    PERFORM ospd.remember_refused_1(
      p_users, ospd.lock_boxes_1(p_users, false), ARRAY(SELECT p_sender[o] FROM unnest(too_many) o WHERE p_by[o] > 0),
      ARRAY(SELECT p_id[o] FROM unnest(too_many) o WHERE p_by[o] > 0),
      ARRAY(SELECT v_opened[p_by[o]] FROM unnest(too_many) o WHERE p_by[o] > 0));
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO v_last FROM ospd.message_seq;
  posted := ospd.post_limited_1(p_server, p_users, p_sender, p_id, p_print, p_sent, p_stored, p_from, p_len, p_first, p_content, p_message,
    p_to, p_pair, p_by, p_by_user, p_session, p_link, p_messages, p_bytes, p_sender_ids,
    p_all_messages - v_total, p_all_bytes - v_total * ${fixed.receiptBytes}, p_all_ids, p_share, p_limited, p_expires);
  WITH asked AS (
    UPDATE ospd.mail m SET asks = true FROM (
      SELECT t.id AS box, s.id AS sender, p_id[a.o] AS id
        FROM unnest(p_asking) a(o)
        JOIN unnest(p_message, p_to) d(m, t) ON d.m = a.o
        JOIN ospd.box t ON t.name = p_users[d.t]
        JOIN ospd.box s ON s.name = p_users[p_sender[a.o]]) x
     WHERE m.box = x.box AND m.seq > v_last AND m.sender = x.sender AND m.id = x.id AND NOT m.asks
    RETURNING m.box, m.sender)
  SELECT array_agg(box), array_agg(sender) INTO v_box, v_sender FROM asked;
  PERFORM ospd.expect_1(p_server, v_box, v_sender, 1);
  RETURN NEXT;
END $$;

-- Counts receipts that are expected (p_sign 1), or no longer expected (-1), by the mailboxes and the senders of their messages.
CREATE OR REPLACE FUNCTION ospd.expect_1(p_server bigint, p_box int[], p_sender int[], p_sign int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_box IS NULL THEN RETURN; END IF;
  UPDATE ospd.box b SET asking = b.asking + p_sign * x.n
    FROM (SELECT id, count(*)::int AS n FROM unnest(p_box) id GROUP BY id) x WHERE b.id = x.id;
  UPDATE ospd.box b SET expected = b.expected + p_sign * x.n
    FROM (SELECT id, count(*)::int AS n FROM unnest(p_sender) id GROUP BY id) x WHERE b.id = x.id;
  UPDATE ospd.server SET messages = messages + p_sign * cardinality(p_box),
      bytes = bytes + p_sign * cardinality(p_box) * ${fixed.receiptBytes} WHERE id = p_server;
END $$;

/*
 * Appends the receipts of those of these messages whose senders expect them. p_state, p_result: for each message, the state and the result
 * in UTF-8. Returns the users with new receipts, or NULL.
 */
CREATE OR REPLACE FUNCTION ospd.settle_1(
  p_server bigint, p_users text[], p_user int[], p_seq bigint[], p_state int[], p_result bytea[]
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  v_senders text[];
  v_box int[];
  v_sender int[];
  v_id uuid[];
  v_name text[];
  v_state int[];
  v_result bytea[];
  v_at bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
  v_age float8;
  v_count int;
  v_bytes bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM ospd.box WHERE name = ANY (p_users) AND asking > 0) THEN RETURN NULL; END IF;
  SELECT array_agg(DISTINCT s.name) INTO v_senders
    FROM unnest(p_user, p_seq) d(u, seq)
    JOIN ospd.box b ON b.name = p_users[d.u]
    JOIN ospd.mail m ON m.box = b.id AND m.seq = d.seq AND m.asks
    JOIN ospd.box s ON s.id = m.sender;
  IF v_senders IS NULL THEN RETURN NULL; END IF;
  PERFORM ospd.lock_receipts_1(ARRAY(SELECT name FROM ospd.box WHERE name = ANY (p_users)), v_senders);
  WITH settled AS (
    UPDATE ospd.mail m SET asks = false
      FROM unnest(p_user, p_seq, p_state, p_result) d(u, seq, state, result) JOIN ospd.box b ON b.name = p_users[d.u]
     WHERE m.box = b.id AND m.seq = d.seq AND m.asks
    RETURNING m.box, m.seq, m.sender, m.id, b.name, d.state, d.result)
  SELECT array_agg(box ORDER BY seq), array_agg(sender ORDER BY seq), array_agg(id ORDER BY seq), array_agg(name ORDER BY seq),
      array_agg(state ORDER BY seq), array_agg(result ORDER BY seq)
    INTO v_box, v_sender, v_id, v_name, v_state, v_result FROM settled;
  IF v_box IS NULL THEN RETURN NULL; END IF;
  SELECT coalesce(max(age), 0) INTO v_age FROM ospd.server;
  WITH receipts AS (
    SELECT s.id AS sender, s.name AS sender_name, r.id AS box, d.id, convert_to(d.name, 'UTF8') AS name, d.state, d.result
      FROM unnest(v_sender, v_id, v_name, v_state, v_result) d(sender, id, name, state, result)
      JOIN ospd.box s ON s.id = d.sender
      JOIN ospd.box r ON r.name = ':receipts:' || s.name),
  bodies AS (
    SELECT sender, box,
           encode(substring(sha256(convert_to(sender_name, 'UTF8') || '\\x00'::bytea || uuid_send(id) || name) FOR 16), 'hex')::uuid AS id,
           '\\x20'::bytea || uuid_send(id) || int2send(length(name)::int2) || name || set_byte('\\x00'::bytea, 0, state)
             || int8send(v_at) || result AS body
      FROM receipts),
  added AS (
    INSERT INTO ospd.mail (box, seq, sender, id, sent_at, stored_at, bytes, content)
      SELECT box, nextval('ospd.message_seq'), sender, id, v_at, v_age, length(body), body FROM bodies
    RETURNING box, seq, bytes),
  counted AS (
    UPDATE ospd.box b SET messages = b.messages + x.n, bytes = b.bytes + x.bytes, last_seq = greatest(b.last_seq, x.seq)
      FROM (SELECT box, count(*)::int AS n, sum(bytes) AS bytes, max(seq) AS seq FROM added GROUP BY box) x WHERE b.id = x.box
    RETURNING x.n, x.bytes)
  SELECT sum(n), sum(bytes) INTO v_count, v_bytes FROM counted;
  PERFORM ospd.expect_1(p_server, v_box, v_sender, -1);
  UPDATE ospd.server SET messages = messages + v_count, bytes = bytes + v_bytes WHERE id = p_server;
  RETURN v_senders;
END $$;

-- As remove_1, with the receipts of the messages.
CREATE OR REPLACE FUNCTION ospd.remove_2(
  p_server bigint, p_users text[], p_user int[], p_seq bigint[], p_state int[], p_result bytea[]
) RETURNS TABLE (receipts text[], gone int[]) LANGUAGE plpgsql AS $$
BEGIN
  receipts := ospd.settle_1(p_server, p_users, p_user, p_seq, p_state, p_result);
  gone := ospd.remove_1(p_server, p_users, p_user, p_seq);
  RETURN NEXT;
END $$;

-- As set_aside_1, with the receipts of the messages.
CREATE OR REPLACE FUNCTION ospd.set_aside_2(
  p_server bigint, p_users text[], p_user int[], p_seq bigint[], p_state int[], p_result bytea[]
) RETURNS TABLE (receipts text[]) LANGUAGE plpgsql AS $$
BEGIN
  receipts := ospd.settle_1(p_server, p_users, p_user, p_seq, p_state, p_result);
  PERFORM ospd.set_aside_1(p_users, p_user, p_seq);
  RETURN NEXT;
END $$;

-- Records that the senders of these imported messages expect receipts.
CREATE OR REPLACE FUNCTION ospd.import_asking_1(p_server bigint, p_users text[], p_user int[], p_seq bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  v_box int[];
  v_sender int[];
  v_senders text[];
BEGIN
  SELECT array_agg(DISTINCT s.name) INTO v_senders
    FROM unnest(p_user, p_seq) d(u, seq) JOIN ospd.box b ON b.name = p_users[d.u]
    JOIN ospd.mail m ON m.box = b.id AND m.seq = d.seq JOIN ospd.box s ON s.id = m.sender;
  IF v_senders IS NULL THEN RETURN; END IF;
  PERFORM ospd.lock_receipts_1(p_users, v_senders);
  WITH asked AS (
    UPDATE ospd.mail m SET asks = true FROM unnest(p_user, p_seq) d(u, seq) JOIN ospd.box b ON b.name = p_users[d.u]
     WHERE m.box = b.id AND m.seq = d.seq AND NOT m.asks AND NOT m.aside RETURNING m.box, m.sender)
  SELECT array_agg(box), array_agg(sender) INTO v_box, v_sender FROM asked;
  PERFORM ospd.expect_1(p_server, v_box, v_sender, 1);
END $$;
`
