import { fixed } from '../../../limits.ts'

/**
 * The functions that change mailboxes. Each locks the rows of all affected users in the order of their ids, so there is no deadlock,
 * and commits in a mailbox happen in the order of the seqs. The number in a name is the version of the function: a later version
 * gets another name, so that servers of the former release can continue.
 */
export const mailFunctions = `
-- Locks the rows of these users, which must be distinct. Returns their ids in the order of the names; NULL for a missing one.
CREATE FUNCTION ospd.lock_boxes_1(p_names text[], p_creates boolean) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
  v_ids int[];
  v_names text[];
BEGIN
  -- Before any lock is held, and in the order of the names: this can wait for a server that adds the same users.
  IF p_creates AND (SELECT count(*) FROM ospd.box WHERE name = ANY (p_names)) < cardinality(p_names) THEN
    INSERT INTO ospd.box (name)
      SELECT n FROM unnest(p_names) n WHERE NOT EXISTS (SELECT FROM ospd.box WHERE name = n) ORDER BY n COLLATE "C"
      ON CONFLICT DO NOTHING;
  END IF;
  SELECT array_agg(x.id), array_agg(x.name) INTO v_ids, v_names
    FROM (SELECT id, name FROM ospd.box WHERE name = ANY (p_names) ORDER BY id FOR NO KEY UPDATE) x;
  RETURN ARRAY(
    SELECT x.id FROM unnest(p_names) WITH ORDINALITY n(name, at) LEFT JOIN unnest(v_ids, v_names) x(id, name) USING (name)
      ORDER BY n.at);
END $$;

/*
 * Returns the numbers with which these links were opened; NULL for a link that is not its session's any more. The sessions of the
 * others cannot change before the end of the transaction. The affected boxes are locked. The row of the server is locked before the
 * sessions, as when the server ends: the messages change it later.
 */
CREATE FUNCTION ospd.opened_links_1(p_server bigint, p_users text[], p_user int[], p_session uuid[], p_link bigint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
  v_at int[];
  v_opened bigint[];
BEGIN
  IF p_session = '{}' THEN RETURN '{}'; END IF;
  PERFORM FROM ospd.server WHERE id = p_server FOR NO KEY UPDATE;
  SELECT array_agg(x.o), array_agg(x.opened) INTO v_at, v_opened FROM (
    SELECT u.o, s.opened FROM unnest(p_user, p_session, p_link) WITH ORDINALITY u(u, session, link, o)
      JOIN ospd.session s ON s.user_name = p_users[u.u] AND s.session = u.session AND s.server = p_server AND s.link = u.link
      ORDER BY s.user_name, s.session FOR SHARE OF s) x;
  RETURN ARRAY(
    SELECT x.opened FROM generate_subscripts(p_session, 1) o LEFT JOIN unnest(v_at, v_opened) x(at, opened) ON x.at = o ORDER BY o);
END $$;

/*
 * Remembers these refused messages that an earlier link of the sender may still send. p_refused: for each, its sender as a position in
 * p_users, its id, and the number of its link. The boxes of the senders are locked.
 */
CREATE FUNCTION ospd.remember_refused_1(p_users text[], p_box int[], p_sender int[], p_id uuid[], p_opened bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ospd.refused AS r (sender, id, opened)
    SELECT p_box[u.s], u.id, max(u.opened) FROM unnest(p_sender, p_id, p_opened) u(s, id, opened)
     WHERE EXISTS (SELECT FROM ospd.session e WHERE e.user_name = p_users[u.s] AND e.opened < u.opened)
     GROUP BY u.s, u.id
    ON CONFLICT (sender, id) DO UPDATE SET opened = greatest(r.opened, excluded.opened), refused_at = excluded.refused_at;
  IF NOT FOUND THEN RETURN; END IF;
  DELETE FROM ospd.refused r USING (SELECT DISTINCT p_box[s] AS sender FROM unnest(p_sender) s) u
   WHERE r.sender = u.sender AND r.refused_at < (
     SELECT o.refused_at FROM ospd.refused o WHERE o.sender = u.sender ORDER BY o.refused_at DESC OFFSET ${fixed.refusedIds - 1} LIMIT 1);
END $$;

-- The result of post_1. Messages and users are named by their positions in the parameters, from 1.
CREATE TYPE ospd.posted AS (
  lost int[], -- messages of links that their sessions have replaced, or that a later link of the sender has had refused
  reused int[], -- messages whose id was used for another message
  limited int[], -- messages that exceed a limit of ids
  full_message int[], -- messages that a mailbox has no space for, and in the same order
  full_user int[], -- the users of these mailboxes
  no_space int[], -- messages for which there is no space beside the messages of all mailboxes
  wake_server bigint[], -- servers that have registered recipients, and in the same order
  wake_user int[], -- these recipients
  stored bigint -- the messages that the server has stored since it entered
);

/*
 * Stores messages. p_users: all senders and recipients, each once. For each message: its sender as a position in p_users, its id, its
 * fingerprint, its times, the position and length of its content in p_content, and in p_first the position of the first message with
 * this sender and id. For each delivery, by rising message: the position of the message, the position of the recipient, and the number of the pair of sender and
 * recipient. p_by: for each message, the position of the link over which it came, or 0; p_by_user, p_session, p_link: these links of
 * p_server, with their users as positions in p_users. p_share: the share of a sender in percent (fitsShare).
 */
CREATE FUNCTION ospd.post_1(
  p_server bigint, p_users text[],
  p_sender int[], p_id uuid[], p_print int[], p_sent bigint[], p_stored float8[], p_from int[], p_len int[], p_first int[],
  p_content bytea, p_message int[], p_to int[], p_pair int[],
  p_by int[], p_by_user int[], p_session uuid[], p_link bigint[],
  p_messages bigint, p_bytes bigint, p_sender_ids bigint, p_all_messages bigint, p_all_bytes bigint, p_all_ids bigint, p_share float8
) RETURNS ospd.posted LANGUAGE plpgsql AS $$
DECLARE
  r ospd.posted;
  v_box int[] := ospd.lock_boxes_1(p_users, true);
  -- By link.
  v_opened bigint[] := ospd.opened_links_1(p_server, p_users, p_by_user, p_session, p_link);
  v_known int[];
  v_new int[];
  v_stored int[] := '{}';
  v_reused int[];
  v_refused int[];
BEGIN
  SELECT array_agg(u.o), array_agg(u.o) FILTER (WHERE t.print <> u.p) INTO v_known, r.reused
    FROM unnest(p_sender, p_id, p_print) WITH ORDINALITY u(s, i, p, o)
    CROSS JOIN LATERAL (SELECT t.print FROM ospd.sent t WHERE t.sender = v_box[u.s] AND t.id = u.i LIMIT 1) t;
  v_new := ARRAY(SELECT o FROM generate_subscripts(p_id, 1) o WHERE v_known IS NULL OR o <> ALL (v_known) ORDER BY o);
  IF v_opened <> '{}' THEN
    r.lost := ARRAY(
      SELECT o FROM unnest(v_new) o
       WHERE p_by[o] > 0 AND (v_opened[p_by[o]] IS NULL OR EXISTS (
         SELECT FROM ospd.refused f WHERE f.sender = v_box[p_sender[o]] AND f.id = p_id[o] AND f.opened > v_opened[p_by[o]])));
    v_new := ARRAY(SELECT o FROM unnest(v_new) o WHERE o <> ALL (r.lost) ORDER BY o);
  END IF;
  -- The first message with an id may be one of those that are not stored.
  IF coalesce(r.lost, '{}') = '{}' AND ospd.has_space_1(v_box, p_sender, p_len, p_message, p_to, p_messages, p_bytes, p_sender_ids, p_all_messages, p_all_bytes, p_all_ids, p_share) THEN
    SELECT array_agg(o ORDER BY o) FILTER (WHERE p_first[o] = o), array_agg(o) FILTER (WHERE p_print[o] <> p_print[p_first[o]])
      INTO v_stored, v_reused FROM unnest(v_new) o;
  ELSE
    SELECT * INTO v_stored, v_reused, r.limited, r.full_message, r.full_user, r.no_space
      FROM ospd.admit_1(v_box, v_new, p_sender, p_print, p_len, p_first, p_message, p_to, p_pair, p_messages, p_bytes, p_sender_ids, p_all_messages, p_all_bytes, p_all_ids, p_share);
    v_refused := ARRAY(SELECT DISTINCT o FROM unnest(r.limited || r.full_message || r.no_space) o WHERE p_by[o] > 0);
    IF v_refused <> '{}' THEN
      PERFORM ospd.remember_refused_1(
        p_users, v_box, ARRAY(SELECT p_sender[o] FROM unnest(v_refused) o), ARRAY(SELECT p_id[o] FROM unnest(v_refused) o),
        ARRAY(SELECT v_opened[p_by[o]] FROM unnest(v_refused) o));
    END IF;
  END IF;
  r.reused := r.reused || v_reused;
  IF cardinality(v_stored) > 0 THEN
    PERFORM ospd.put_1(p_server, v_box, v_stored, p_sender, p_id, p_print, p_sent, p_stored, p_from, p_len, p_content, p_message, p_to);
  END IF;
  SELECT array_agg(b.reader), array_agg(u.at) INTO r.wake_server, r.wake_user
    FROM unnest(v_box) WITH ORDINALITY u(id, at) JOIN ospd.box b ON b.id = u.id
    WHERE b.reader <> p_server AND u.at = ANY (p_to);
  r.stored := (SELECT s.stored FROM ospd.server s WHERE s.id = p_server);
  RETURN r;
END $$;

-- Returns whether all these messages fit, even if each sender had sent all waiting messages. All affected rows are locked.
CREATE FUNCTION ospd.has_space_1(
  p_box int[], p_sender int[], p_len int[], p_message int[], p_to int[],
  p_messages bigint, p_bytes bigint, p_sender_ids bigint, p_all_messages bigint, p_all_bytes bigint, p_all_ids bigint, p_share float8
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_messages bigint;
  v_bytes bigint;
  v_ids bigint;
BEGIN
  SELECT coalesce(sum(messages), 0) + cardinality(p_to), coalesce(sum(bytes), 0), coalesce(sum(ids), 0) + cardinality(p_sender)
    INTO v_messages, v_bytes, v_ids FROM ospd.server;
  v_bytes := v_bytes + (SELECT coalesce(sum(p_len[m]), 0) FROM unnest(p_message) m);
  RETURN v_messages * (100 - p_share) <= (p_all_messages - v_messages) * p_share
    AND v_bytes * (100 - p_share) <= (p_all_bytes - v_bytes) * p_share
    AND v_ids * (100 - p_share) <= (p_all_ids - v_ids) * p_share
    AND NOT EXISTS (
    SELECT FROM (
      SELECT p_box[y.u] AS id, sum(y.messages) AS messages, sum(y.bytes) AS bytes, sum(y.ids) AS ids FROM (
        SELECT d.t AS u, 1 AS messages, p_len[d.m] AS bytes, 0 AS ids FROM unnest(p_message, p_to) d(m, t)
        UNION ALL SELECT s, 0, 0, 1 FROM unnest(p_sender) s) y GROUP BY y.u) x
    JOIN ospd.box b ON b.id = x.id
    WHERE (b.messages + x.messages) * (100 - p_share) > (p_messages - b.messages - x.messages) * p_share
      OR (b.bytes + x.bytes) * (100 - p_share) > (p_bytes - b.bytes - x.bytes) * p_share
      OR b.ids + x.ids > p_sender_ids);
END $$;

-- Decides for one message after another which of p_new are stored, as MailboxStore.append states. All affected rows are locked.
CREATE FUNCTION ospd.admit_1(
  p_box int[], p_new int[], p_sender int[], p_print int[], p_len int[], p_first int[], p_message int[], p_to int[], p_pair int[],
  p_messages bigint, p_bytes bigint, p_sender_ids bigint, p_all_messages bigint, p_all_bytes bigint, p_all_ids bigint, p_share float8,
  OUT stored int[], OUT reused int[], OUT limited int[], OUT full_message int[], OUT full_user int[], OUT no_space int[]
) LANGUAGE plpgsql AS $$
DECLARE
  v_all_messages bigint;
  v_all_bytes bigint;
  v_all_ids bigint;
  -- By user: the messages and bytes in the mailbox, the remembered ids, and the waiting messages and bytes of the user as a sender.
  v_messages bigint[];
  v_bytes bigint[];
  v_ids bigint[];
  v_waiting bigint[];
  v_sent_bytes bigint[];
  -- By pair of sender and recipient: the messages and bytes of this sender in this mailbox.
  v_own_messages bigint[];
  v_own_bytes bigint[];
  -- By message: the stored message with the same sender and id, at the position of the first of them.
  v_same int[] := array_fill(NULL::int, ARRAY[cardinality(p_sender)]);
  v_from int := 1;
  v_end int := 1;
  v_deliveries int := cardinality(p_to);
  v_o int;
  v_s int;
  v_u int;
  v_n bigint;
  v_full int[];
BEGIN
  stored := '{}';
  SELECT coalesce(sum(messages), 0), coalesce(sum(bytes), 0), coalesce(sum(ids), 0) INTO v_all_messages, v_all_bytes, v_all_ids
    FROM ospd.server;
  SELECT array_agg(b.messages ORDER BY u.at), array_agg(b.bytes ORDER BY u.at), array_agg(b.ids ORDER BY u.at) INTO v_messages, v_bytes, v_ids
    FROM unnest(p_box) WITH ORDINALITY u(id, at) JOIN ospd.box b ON b.id = u.id;
  IF p_share < 100 THEN
    SELECT array_agg(w.n ORDER BY u.at), array_agg(w.bytes ORDER BY u.at) INTO v_waiting, v_sent_bytes
      FROM unnest(p_box) WITH ORDINALITY u(id, at)
      CROSS JOIN LATERAL (
        SELECT count(*) AS n, coalesce(sum(m.bytes), 0)::bigint AS bytes FROM ospd.mail m WHERE m.sender = u.id AND u.at = ANY (p_sender)) w;
    SELECT array_agg(w.n ORDER BY q.pair), array_agg(w.bytes ORDER BY q.pair) INTO v_own_messages, v_own_bytes
      FROM (SELECT DISTINCT d.pair, p_box[p_sender[d.m]] AS sender, p_box[d.t] AS box FROM unnest(p_message, p_to, p_pair) d(m, t, pair)) q
      CROSS JOIN LATERAL (
        SELECT count(*) AS n, coalesce(sum(m.bytes), 0)::bigint AS bytes FROM ospd.mail m WHERE m.sender = q.sender AND m.box = q.box) w;
  ELSE
    v_waiting := array_fill(0::bigint, ARRAY[cardinality(p_box)]);
    v_sent_bytes := v_waiting;
    v_own_messages := array_fill(0::bigint, ARRAY[v_deliveries]);
    v_own_bytes := v_own_messages;
  END IF;
  FOREACH v_o IN ARRAY p_new LOOP
    v_from := v_end;
    WHILE v_from <= v_deliveries AND p_message[v_from] < v_o LOOP v_from := v_from + 1; END LOOP;
    v_end := v_from;
    WHILE v_end <= v_deliveries AND p_message[v_end] = v_o LOOP v_end := v_end + 1; END LOOP;
    IF v_same[p_first[v_o]] IS NOT NULL THEN
      IF p_print[v_same[p_first[v_o]]] <> p_print[v_o] THEN reused := reused || v_o; END IF;
      CONTINUE;
    END IF;
    v_n := v_end - v_from;
    v_s := p_sender[v_o];
    IF v_ids[v_s] >= p_sender_ids OR NOT ospd.fits_1(p_all_ids, v_all_ids, v_ids[v_s], 1, p_share) THEN
      limited := limited || v_o;
      CONTINUE;
    END IF;
    v_full := '{}';
    IF NOT ospd.fits_1(p_all_messages, v_all_messages, v_waiting[v_s], v_n, p_share) THEN
      v_full := p_to[v_from : v_end - 1];
    ELSE
      FOR d IN v_from .. v_end - 1 LOOP
        v_u := p_to[d];
        CONTINUE WHEN ospd.fits_1(p_messages, v_messages[v_u], v_own_messages[p_pair[d]], 1, p_share)
          AND ospd.fits_1(p_bytes, v_bytes[v_u], v_own_bytes[p_pair[d]], p_len[v_o], p_share);
        v_full := v_full || v_u;
      END LOOP;
    END IF;
    IF cardinality(v_full) > 0 THEN
      full_message := full_message || array_fill(v_o, ARRAY[cardinality(v_full)]);
      full_user := full_user || v_full;
      CONTINUE;
    END IF;
    IF NOT ospd.fits_1(p_all_bytes, v_all_bytes, v_sent_bytes[v_s], v_n * p_len[v_o], p_share) THEN
      no_space := no_space || v_o;
      CONTINUE;
    END IF;
    stored := stored || v_o;
    v_same[p_first[v_o]] := v_o;
    v_all_messages := v_all_messages + v_n;
    v_all_bytes := v_all_bytes + v_n * p_len[v_o];
    v_all_ids := v_all_ids + 1;
    v_ids[v_s] := v_ids[v_s] + 1;
    v_waiting[v_s] := v_waiting[v_s] + v_n;
    v_sent_bytes[v_s] := v_sent_bytes[v_s] + v_n * p_len[v_o];
    FOR d IN v_from .. v_end - 1 LOOP
      v_u := p_to[d];
      v_messages[v_u] := v_messages[v_u] + 1;
      v_bytes[v_u] := v_bytes[v_u] + p_len[v_o];
      v_own_messages[p_pair[d]] := v_own_messages[p_pair[d]] + 1;
      v_own_bytes[p_pair[d]] := v_own_bytes[p_pair[d]] + p_len[v_o];
    END LOOP;
  END LOOP;
END $$;

-- Returns whether a sender that uses p_own of a limit may use p_more in addition (fitsShare).
CREATE FUNCTION ospd.fits_1(p_most bigint, p_held bigint, p_own bigint, p_more bigint, p_share float8) RETURNS boolean
  LANGUAGE sql IMMUTABLE AS $$
  SELECT p_most - p_held - p_more >= 0 AND (p_own = 0 OR (p_own + p_more) * (100 - p_share) <= (p_most - p_held - p_more) * p_share)
$$;

-- Stores the messages at these positions. All affected rows are locked, so the seqs in each mailbox rise in the order of commits.
CREATE FUNCTION ospd.put_1(
  p_server bigint, p_box int[], p_which int[],
  p_sender int[], p_id uuid[], p_print int[], p_sent bigint[], p_stored float8[], p_from int[], p_len int[], p_content bytea,
  p_message int[], p_to int[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_seq bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(p_id)]);
  v_recipients int[] := array_fill(0, ARRAY[cardinality(p_id)]);
  v_o int;
BEGIN
  FOREACH v_o IN ARRAY p_which LOOP v_seq[v_o] := nextval('ospd.message_seq'); END LOOP;
  FOREACH v_o IN ARRAY p_message LOOP v_recipients[v_o] := v_recipients[v_o] + 1; END LOOP;
  INSERT INTO ospd.body (seq, content)
    SELECT v_seq[o], substring(p_content FROM p_from[o] FOR p_len[o]) FROM unnest(p_which) o WHERE p_len[o] > 2000 AND v_recipients[o] > 1;
  INSERT INTO ospd.mail (box, seq, sender, id, sent_at, stored_at, bytes, content)
    SELECT p_box[d.t], v_seq[d.m], p_box[p_sender[d.m]], p_id[d.m], p_sent[d.m], p_stored[d.m], p_len[d.m],
           CASE WHEN p_len[d.m] <= 2000 OR v_recipients[d.m] = 1 THEN substring(p_content FROM p_from[d.m] FOR p_len[d.m]) END
      FROM unnest(p_message, p_to) d(m, t) WHERE v_seq[d.m] IS NOT NULL;
  INSERT INTO ospd.sent (sender, id, print, stored_at)
    SELECT p_box[p_sender[o]], p_id[o], p_print[o], p_stored[o] FROM unnest(p_which) o;
  UPDATE ospd.box b
     SET messages = b.messages + x.messages, bytes = b.bytes + x.bytes, ids = b.ids + x.ids, last_seq = greatest(b.last_seq, x.last_seq)
    FROM (
      SELECT p_box[y.u] AS id, sum(y.messages)::int AS messages, sum(y.bytes)::bigint AS bytes, sum(y.ids)::int AS ids,
             max(y.seq) AS last_seq
        FROM (
          SELECT d.t AS u, 1 AS messages, p_len[d.m] AS bytes, 0 AS ids, v_seq[d.m] AS seq
            FROM unnest(p_message, p_to) d(m, t) WHERE v_seq[d.m] IS NOT NULL
          UNION ALL SELECT p_sender[o], 0, 0, 1, 0 FROM unnest(p_which) o) y
        GROUP BY y.u) x
   WHERE b.id = x.id;
  UPDATE ospd.server s
     SET messages = s.messages + (SELECT count(*) FROM unnest(p_message) m WHERE v_seq[m] IS NOT NULL),
         bytes = s.bytes + (SELECT coalesce(sum(p_len[m]), 0) FROM unnest(p_message) m WHERE v_seq[m] IS NOT NULL),
         ids = s.ids + cardinality(p_which),
         stored = s.stored + cardinality(p_which),
         age = greatest(s.age, (SELECT max(p_stored[o]) FROM unnest(p_which) o))
   WHERE s.id = p_server;
END $$;

-- Removes messages: p_user are positions in p_users, from 1. Returns the number of removed messages of each user.
CREATE FUNCTION ospd.remove_1(p_server bigint, p_users text[], p_user int[], p_seq bigint[]) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
  v_box int[] := ospd.lock_boxes_1(p_users, false);
  v_gone int[];
  v_boxes int[];
  v_bytes bigint;
BEGIN
  WITH gone AS (
    DELETE FROM ospd.mail m USING unnest(p_user, p_seq) d(u, seq) WHERE m.box = v_box[d.u] AND m.seq = d.seq RETURNING m.box, m.bytes),
  sums AS (SELECT box, count(*)::int AS n, sum(bytes)::bigint AS bytes FROM gone GROUP BY box),
  counted AS (
    UPDATE ospd.box b SET messages = b.messages - s.n, bytes = b.bytes - s.bytes FROM sums s WHERE b.id = s.box RETURNING b.id, s.n, s.bytes)
  SELECT array_agg(id), array_agg(n), sum(bytes) INTO v_boxes, v_gone, v_bytes FROM counted;
  UPDATE ospd.box b
     SET floor = coalesce(
       (SELECT m.seq - 1 FROM ospd.mail m WHERE m.box = b.id AND m.seq > b.floor AND NOT m.aside ORDER BY m.seq LIMIT 1), b.last_seq)
   WHERE b.id = ANY (v_boxes);
  UPDATE ospd.server SET messages = messages - (SELECT coalesce(sum(n), 0) FROM unnest(v_gone) n), bytes = bytes - v_bytes
   WHERE id = p_server AND v_gone IS NOT NULL;
  RETURN ARRAY(
    SELECT coalesce(x.n, 0) FROM unnest(v_box) WITH ORDINALITY u(id, at) LEFT JOIN unnest(v_boxes, v_gone) x(id, n) USING (id) ORDER BY u.at);
END $$;

-- Sets messages aside.
CREATE FUNCTION ospd.set_aside_1(p_users text[], p_user int[], p_seq bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_box int[] := ospd.lock_boxes_1(p_users, false);
BEGIN
  UPDATE ospd.mail m SET aside = true FROM unnest(p_user, p_seq) d(u, seq) WHERE m.box = v_box[d.u] AND m.seq = d.seq AND NOT m.aside;
END $$;

-- Forgets ids that were stored before p_before, at most p_most. Returns the number of the ids that were found.
CREATE FUNCTION ospd.forget_ids_1(p_server bigint, p_before float8, p_most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  v_sender int[];
  v_id uuid[];
  v_gone int;
BEGIN
  SELECT array_agg(x.sender), array_agg(x.id) INTO v_sender, v_id
    FROM (SELECT sender, id FROM ospd.sent WHERE stored_at < p_before LIMIT p_most) x;
  PERFORM FROM ospd.box WHERE id = ANY (v_sender) ORDER BY id FOR NO KEY UPDATE;
  WITH gone AS (
    DELETE FROM ospd.sent t USING unnest(v_sender, v_id) d(s, i) WHERE t.sender = d.s AND t.id = d.i RETURNING t.sender),
  sums AS (SELECT sender, count(*)::int AS n FROM gone GROUP BY sender),
  counted AS (UPDATE ospd.box b SET ids = b.ids - s.n FROM sums s WHERE b.id = s.sender RETURNING s.n)
  SELECT coalesce(sum(n), 0)::int INTO v_gone FROM counted;
  UPDATE ospd.server SET ids = ids - v_gone WHERE id = p_server AND v_gone > 0;
  RETURN coalesce(cardinality(v_id), 0);
END $$;

/*
 * Makes a link the one that receives the messages of p_user. Returns no row if the session has lost the mailbox. What an earlier reader
 * that has not ended may have handed out counts as handed out.
 */
CREATE FUNCTION ospd.listen_1(p_user text, p_server bigint, p_link bigint, p_session uuid)
  RETURNS TABLE (epoch bigint, handed bigint, former bigint, former_link bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_id int := (ospd.lock_boxes_1(ARRAY[p_user], true))[1];
  b ospd.box;
  v_is_alive boolean;
BEGIN
  PERFORM ospd.check_server_1(p_server);
  PERFORM ospd.check_not_replaced_1(p_user, p_session, p_server, p_link);
  SELECT * INTO b FROM ospd.box WHERE id = v_id;
  IF b.reader = p_server AND b.reader_link = p_link AND b.reader_session = p_session THEN
    RETURN QUERY SELECT b.epoch, b.handed, NULL::bigint, NULL::bigint;
    RETURN;
  END IF;
  IF p_session = ANY (b.superseded) THEN RETURN; END IF;
  v_is_alive := b.reader IS NOT NULL AND EXISTS (SELECT FROM ospd.server WHERE id = b.reader AND NOT dead AND lease_until > clock_timestamp());
  RETURN QUERY UPDATE ospd.box x SET
      epoch = b.epoch + 1,
      handed = CASE WHEN b.reader IS NULL THEN b.handed ELSE greatest(b.handed, b.last_seq) END,
      superseded = CASE WHEN v_is_alive AND b.reader_session <> p_session
        THEN (b.superseded || b.reader_session)[greatest(1, cardinality(b.superseded) - 6):] ELSE b.superseded END,
      reader = p_server, reader_link = p_link, reader_session = p_session
    WHERE x.id = v_id
    RETURNING x.epoch, x.handed, b.reader, b.reader_link;
END $$;
`
