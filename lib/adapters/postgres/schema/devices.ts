/** The known devices of users, and the messages that they have answered. */
export const deviceTables = `
CREATE TABLE IF NOT EXISTS ospd.device (
  id int GENERATED ALWAYS AS IDENTITY UNIQUE, -- a device that was forgotten and is opened again gets another one
  box int NOT NULL,
  name text COLLATE "C" NOT NULL, -- empty for the programs without a device
  seen_at float8 NOT NULL, -- ms of the age clock
  PRIMARY KEY (box, name)
);

-- The answers of devices to messages that wait for other devices.
CREATE TABLE IF NOT EXISTS ospd.answer (
  box int NOT NULL,
  seq bigint NOT NULL,
  device int NOT NULL,
  reason bytea, -- why the device has rejected the message, empty without a receipt; NULL if the device has handled it
  PRIMARY KEY (box, seq, device)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
`

/**
 * The functions of devices. The devices of a user and their answers are changed only while the box of the user is locked. The
 * registration of a device is in a box without messages, whose name is "user/device".
 */
export const deviceFunctions = `
/*
 * Makes devices of p_user known, and records that they are in use. Programs without a device become known as well if they listen.
 * Returns 'opened'; 'full' if there would be more than p_most devices; or 'mixed' while a server of schema version 2 is running,
 * which would remove messages for all devices.
 */
CREATE OR REPLACE FUNCTION ospd.open_devices_1(p_user text, p_names text[], p_now float8, p_most int, p_precision float8) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  v_box int;
  v_named int;
BEGIN
  IF p_names = ARRAY[''] AND NOT EXISTS (SELECT FROM ospd.device d JOIN ospd.box b ON b.id = d.box WHERE b.name = p_user) THEN
    RETURN 'opened';
  END IF;
  v_box := (ospd.lock_boxes_1(ARRAY[p_user], true))[1];
  SELECT count(*) INTO v_named
    FROM (SELECT d.name FROM ospd.device d WHERE d.box = v_box UNION SELECT unnest(p_names)) x WHERE x.name <> '';
  IF v_named = 0 THEN RETURN 'opened'; END IF;
  IF EXISTS (
    SELECT FROM unnest(p_names) n WHERE n <> '' AND NOT EXISTS (SELECT FROM ospd.device d WHERE d.box = v_box AND d.name = n))
  THEN
    IF EXISTS (SELECT FROM ospd.server WHERE NOT dead AND lease_until > clock_timestamp() AND version = '2') THEN RETURN 'mixed'; END IF;
    IF v_named > p_most THEN RETURN 'full'; END IF;
  END IF;
  INSERT INTO ospd.device AS d (box, name, seen_at)
    SELECT v_box, x.name, p_now FROM (
      SELECT unnest(p_names) AS name
      UNION SELECT '' FROM ospd.box b WHERE b.id = v_box AND b.reader IS NOT NULL AND b.reader_link <> 0) x
    ON CONFLICT (box, name) DO UPDATE SET seen_at = excluded.seen_at WHERE excluded.seen_at - d.seen_at >= p_precision;
  RETURN 'opened';
END $$;

/*
 * Forgets the device p_name of p_user or, if it is NULL, all that were last opened before p_before. Removes the messages that all
 * remaining devices have answered, or sets them aside if a device has rejected them, and stores their receipts. Returns the names of
 * the forgotten devices and the users with new receipts. outcome: 'listening' if the device p_name listens at a server; 'again' if
 * the boxes of some senders are not locked. In both cases, nothing has changed.
 */
CREATE OR REPLACE FUNCTION ospd.forget_devices_1(
  p_server bigint, p_user text, p_name text, p_before float8, p_handled int, p_rejected int
) RETURNS TABLE (outcome text, names text[], receipts text[]) LANGUAGE plpgsql AS $$
DECLARE
  v_box int;
  v_senders text[];
  v_gone bigint[];
  v_aside bigint[];
  v_reason bytea[];
  v_is_locked boolean;
BEGIN
  outcome := 'done';
  -- All boxes that settle_1 locks are locked now, in one order.
  v_senders := ARRAY(
    SELECT DISTINCT s.name FROM ospd.box b
      JOIN ospd.mail m ON m.box = b.id AND m.asks AND EXISTS (SELECT FROM ospd.answer a WHERE a.box = m.box AND a.seq = m.seq)
      JOIN ospd.box s ON s.id = m.sender
     WHERE b.name = p_user);
  PERFORM ospd.lock_receipts_1(ARRAY(SELECT b.name FROM ospd.box b WHERE b.name = p_user), v_senders);
  v_box := (SELECT id FROM ospd.box WHERE name = p_user);
  names := ARRAY(SELECT d.name FROM ospd.device d WHERE d.box = v_box AND (d.name = p_name OR d.seen_at < p_before));
  IF EXISTS (
    SELECT FROM ospd.box WHERE name = p_user || CASE p_name WHEN '' THEN '' ELSE '/' || p_name END AND reader IS NOT NULL AND reader_link <> 0)
  THEN
    outcome := 'listening';
  END IF;
  IF names = '{}' OR outcome = 'listening' THEN
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT array_agg(x.seq) FILTER (WHERE x.reason IS NULL), array_agg(x.seq) FILTER (WHERE x.reason IS NOT NULL),
      array_agg(x.reason) FILTER (WHERE x.reason IS NOT NULL), bool_and(NOT x.asks OR x.sender = ANY (v_senders))
    INTO v_gone, v_aside, v_reason, v_is_locked FROM (
    SELECT m.seq, m.asks, s.name AS sender,
        (SELECT a.reason FROM ospd.answer a WHERE a.box = m.box AND a.seq = m.seq AND a.reason IS NOT NULL LIMIT 1) AS reason
      FROM ospd.mail m JOIN ospd.box s ON s.id = m.sender
     WHERE m.box = v_box AND NOT m.aside
       AND EXISTS (SELECT FROM ospd.device d WHERE d.box = v_box AND d.name <> ALL (names))
       AND NOT EXISTS (
         SELECT FROM ospd.device d WHERE d.box = v_box AND d.name <> ALL (names)
           AND NOT EXISTS (SELECT FROM ospd.answer a WHERE a.box = m.box AND a.seq = m.seq AND a.device = d.id))) x;
  IF NOT v_is_locked THEN
    outcome := 'again';
    RETURN NEXT;
    RETURN;
  END IF;
  IF v_gone IS NOT NULL THEN
    receipts := (
      SELECT r.receipts FROM ospd.remove_2(p_server, ARRAY[p_user], array_fill(1, ARRAY[cardinality(v_gone)]), v_gone,
        array_fill(p_handled, ARRAY[cardinality(v_gone)]), array_fill(''::bytea, ARRAY[cardinality(v_gone)])) r);
  END IF;
  IF v_aside IS NOT NULL THEN
    receipts := receipts || (
      SELECT r.receipts FROM ospd.set_aside_2(p_server, ARRAY[p_user], array_fill(1, ARRAY[cardinality(v_aside)]), v_aside,
        array_fill(p_rejected, ARRAY[cardinality(v_aside)]), v_reason) r);
  END IF;
  -- The device without a name is known only together with others.
  DELETE FROM ospd.device d WHERE d.box = v_box AND (
    d.name = ANY (names) OR NOT EXISTS (SELECT FROM ospd.device o WHERE o.box = v_box AND o.name <> '' AND o.name <> ALL (names)));
  DELETE FROM ospd.answer a WHERE a.box = v_box AND (
    a.seq = ANY (v_gone || v_aside) OR (a.reason IS NULL AND NOT EXISTS (SELECT FROM ospd.device d WHERE d.id = a.device)));
  DELETE FROM ospd.box WHERE name = ANY (ARRAY(SELECT p_user || '/' || n FROM unnest(names) n WHERE n <> '')) AND reader IS NULL;
  RETURN NEXT;
END $$;

-- Removes the answers to messages that have left their mailboxes in another way.
CREATE OR REPLACE FUNCTION ospd.drop_answers_1() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_boxes int[];
BEGIN
  SELECT array_agg(x.id) INTO v_boxes FROM (
    SELECT b.id FROM ospd.box b
     WHERE b.id IN (SELECT a.box FROM ospd.answer a WHERE NOT EXISTS (SELECT FROM ospd.mail m WHERE m.box = a.box AND m.seq = a.seq))
     ORDER BY b.id FOR NO KEY UPDATE) x;
  DELETE FROM ospd.answer a
   WHERE a.box = ANY (v_boxes) AND NOT EXISTS (SELECT FROM ospd.mail m WHERE m.box = a.box AND m.seq = a.seq);
END $$;

/*
 * Records answers of devices to messages. Removes the messages that all known devices have answered, or sets them aside if a device
 * has rejected them, and stores their receipts. p_device: for each message, the device that has answered, or NULL if the answer
 * applies to all devices. p_rejects: whether the answers are rejections. p_rejected: the state of a rejected message. Returns the
 * users with new receipts.
 */
CREATE OR REPLACE FUNCTION ospd.answer_1(
  p_server bigint, p_users text[], p_user int[], p_seq bigint[], p_state int[], p_result bytea[], p_device text[],
  p_rejects boolean, p_rejected int
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  v_has_devices boolean := EXISTS (SELECT FROM ospd.device);
  v_senders text[];
  v_box int[];
  -- Positions of messages.
  v_direct int[];
  v_gone int[];
  v_aside int[];
  v_reason bytea[];
  v_receipts text[];
BEGIN
  IF v_has_devices THEN
    v_has_devices := EXISTS (SELECT FROM ospd.box b JOIN ospd.device d ON d.box = b.id WHERE b.name = ANY (p_users));
  END IF;
  IF NOT v_has_devices AND p_rejects THEN
    RETURN (SELECT r.receipts FROM ospd.set_aside_2(p_server, p_users, p_user, p_seq, p_state, p_result) r);
  ELSIF NOT v_has_devices THEN
    RETURN (SELECT r.receipts FROM ospd.remove_2(p_server, p_users, p_user, p_seq, p_state, p_result) r);
  END IF;
  -- All boxes that settle_1 locks are locked now, in one order. Messages that are stored later are left out.
  SELECT array_agg(DISTINCT s.name) FILTER (WHERE m.asks), array_agg(d.u ORDER BY d.o), array_agg(d.seq ORDER BY d.o),
      array_agg(d.state ORDER BY d.o), array_agg(d.result ORDER BY d.o), array_agg(d.device ORDER BY d.o)
    INTO v_senders, p_user, p_seq, p_state, p_result, p_device
    FROM unnest(p_user, p_seq, p_state, p_result, p_device) WITH ORDINALITY d(u, seq, state, result, device, o)
    JOIN ospd.box b ON b.name = p_users[d.u]
    JOIN ospd.mail m ON m.box = b.id AND m.seq = d.seq
    JOIN ospd.box s ON s.id = m.sender;
  IF p_user IS NULL THEN RETURN NULL; END IF;
  IF v_senders IS NULL THEN PERFORM ospd.lock_boxes_1(p_users, false);
  ELSE PERFORM ospd.lock_receipts_1(ARRAY(SELECT name FROM ospd.box WHERE name = ANY (p_users)), v_senders);
  END IF;
  v_box := ARRAY(SELECT b.id FROM unnest(p_users) WITH ORDINALITY u(name, at) LEFT JOIN ospd.box b ON b.name = u.name ORDER BY u.at);
  v_direct := ARRAY(
    SELECT u.o::int FROM unnest(p_user, p_device) WITH ORDINALITY u(u, device, o)
     WHERE u.device IS NULL OR NOT EXISTS (SELECT FROM ospd.device k WHERE k.box = v_box[u.u]));
  INSERT INTO ospd.answer (box, seq, device, reason)
    SELECT m.box, m.seq, k.id, CASE WHEN p_rejects THEN coalesce(
        (SELECT a.reason FROM ospd.answer a WHERE a.box = m.box AND a.seq = m.seq AND a.reason IS NOT NULL LIMIT 1),
        CASE WHEN m.asks THEN u.result ELSE '' END) END
      FROM unnest(p_user, p_seq, p_result, p_device) u(u, seq, result, device)
      JOIN ospd.device k ON k.box = v_box[u.u] AND k.name = u.device
      JOIN ospd.mail m ON m.box = k.box AND m.seq = u.seq AND NOT m.aside
    ON CONFLICT DO NOTHING;
  SELECT array_agg(x.o) FILTER (WHERE x.reason IS NULL), array_agg(x.o) FILTER (WHERE x.reason IS NOT NULL),
      array_agg(x.reason) FILTER (WHERE x.reason IS NOT NULL) INTO v_gone, v_aside, v_reason FROM (
    SELECT DISTINCT ON (m.box, m.seq) u.o::int AS o,
        (SELECT a.reason FROM ospd.answer a WHERE a.box = m.box AND a.seq = m.seq AND a.reason IS NOT NULL LIMIT 1) AS reason
      FROM unnest(p_user, p_seq, p_device) WITH ORDINALITY u(u, seq, device, o)
      JOIN ospd.device k ON k.box = v_box[u.u] AND k.name = u.device
      JOIN ospd.mail m ON m.box = k.box AND m.seq = u.seq AND NOT m.aside
     WHERE NOT EXISTS (
       SELECT FROM ospd.device d WHERE d.box = m.box
         AND NOT EXISTS (SELECT FROM ospd.answer a WHERE a.box = m.box AND a.seq = m.seq AND a.device = d.id))
     ORDER BY m.box, m.seq, u.o DESC) x;
  IF p_rejects THEN
    v_aside := v_direct || v_aside;
    v_reason := ARRAY(SELECT p_result[o] FROM unnest(v_direct) WITH ORDINALITY d(o, at) ORDER BY at) || v_reason;
  ELSE v_gone := v_direct || v_gone;
  END IF;
  IF cardinality(v_gone) > 0 THEN
    v_receipts := (
      SELECT r.receipts FROM ospd.remove_2(p_server, p_users,
        ARRAY(SELECT p_user[o] FROM unnest(v_gone) o), ARRAY(SELECT p_seq[o] FROM unnest(v_gone) o),
        ARRAY(SELECT p_state[o] FROM unnest(v_gone) o), ARRAY(SELECT p_result[o] FROM unnest(v_gone) o)) r);
  END IF;
  IF cardinality(v_aside) > 0 THEN
    v_receipts := v_receipts || (
      SELECT r.receipts FROM ospd.set_aside_2(p_server, p_users,
        ARRAY(SELECT p_user[o] FROM unnest(v_aside) o), ARRAY(SELECT p_seq[o] FROM unnest(v_aside) o),
        ARRAY(SELECT p_rejected FROM unnest(v_aside)), v_reason) r);
  END IF;
  DELETE FROM ospd.answer a USING unnest(v_gone || v_aside) o WHERE a.box = v_box[p_user[o]] AND a.seq = p_seq[o];
  RETURN v_receipts;
END $$;

-- Returns the servers at which devices of recipients are registered and, in the same order, these recipients. p_stored is ignored:
-- as an argument, it makes a statement call this function after the messages were stored.
CREATE OR REPLACE FUNCTION ospd.device_wakes_1(p_server bigint, p_users text[], p_to int[], p_stored bigint)
RETURNS TABLE (device_server bigint[], device_user int[]) LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM ospd.device) THEN
    SELECT array_agg(x.reader), array_agg(x.t) INTO device_server, device_user FROM (
      SELECT DISTINCT r.reader, t.t
        FROM (SELECT DISTINCT t FROM unnest(p_to) t) t
        JOIN ospd.box b ON b.name = p_users[t.t]
        JOIN ospd.device d ON d.box = b.id AND d.name <> ''
        JOIN ospd.box r ON r.name = b.name || '/' || d.name
       WHERE r.reader <> p_server) x;
  END IF;
  RETURN NEXT;
END $$;

/*
 * As listen_1, for a device. The device without a name becomes known if others are. While a device is registered, all messages
 * count as handed out; the end of the registration records which ones were.
 */
CREATE OR REPLACE FUNCTION ospd.listen_2(p_user text, p_device text, p_server bigint, p_link bigint, p_session uuid)
  RETURNS TABLE (epoch bigint, handed bigint, former bigint, former_link bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_boxes int[];
  v_last bigint;
  v_epoch bigint;
  b ospd.box;
  v_is_alive boolean;
BEGIN
  IF p_device = '' THEN
    RETURN QUERY SELECT * FROM ospd.listen_1(p_user, p_server, p_link, p_session);
    IF FOUND THEN
      INSERT INTO ospd.device (box, name, seen_at)
        SELECT DISTINCT d.box, '', (SELECT max(s.age) FROM ospd.server s) FROM ospd.device d JOIN ospd.box u ON u.id = d.box WHERE u.name = p_user
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN;
  END IF;
  v_boxes := ospd.lock_boxes_1(ARRAY[p_user, p_user || '/' || p_device], true);
  IF v_boxes[2] IS NULL THEN
    -- The device was removed while this waited for the lock.
    v_boxes := ospd.lock_boxes_1(ARRAY[p_user, p_user || '/' || p_device], true);
  END IF;
  PERFORM ospd.check_server_1(p_server);
  PERFORM ospd.check_not_replaced_1(p_user, p_session, p_server, p_link);
  v_last := (SELECT last_seq FROM ospd.box WHERE id = v_boxes[1]);
  SELECT * INTO b FROM ospd.box WHERE id = v_boxes[2];
  IF b.reader = p_server AND b.reader_link = p_link AND b.reader_session = p_session THEN
    RETURN QUERY SELECT b.epoch, v_last, NULL::bigint, NULL::bigint;
    RETURN;
  END IF;
  IF p_session = ANY (b.superseded) THEN RETURN; END IF;
  v_is_alive := b.reader IS NOT NULL AND EXISTS (SELECT FROM ospd.server WHERE id = b.reader AND NOT dead AND lease_until > clock_timestamp());
  -- The device may have been removed since it was opened. The number is higher than all numbers of an earlier device of this name.
  INSERT INTO ospd.device (box, name, seen_at) VALUES (v_boxes[1], p_device, (SELECT max(s.age) FROM ospd.server s)) ON CONFLICT DO NOTHING;
  v_epoch := CASE b.epoch WHEN 0 THEN (SELECT d.id * ${2 ** 20}::bigint FROM ospd.device d WHERE d.box = v_boxes[1] AND d.name = p_device)
    ELSE b.epoch END + 1;
  RETURN QUERY UPDATE ospd.box x SET
      epoch = v_epoch,
      handed = ${Number.MAX_SAFE_INTEGER},
      superseded = CASE WHEN v_is_alive AND b.reader_session <> p_session
        THEN (b.superseded || b.reader_session)[greatest(1, cardinality(b.superseded) - 6):] ELSE b.superseded END,
      reader = p_server, reader_link = p_link, reader_session = p_session
    WHERE x.id = v_boxes[2]
    RETURNING x.epoch, least(b.handed, v_last), b.reader, b.reader_link;
END $$;

-- Adds the devices of an imported user that are not known yet, and their answers. p_device: positions in p_names.
CREATE OR REPLACE FUNCTION ospd.import_devices_1(
  p_user text, p_names text[], p_seen float8[], p_device int[], p_seq bigint[], p_rejected bigint[], p_reason bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_box int := (ospd.lock_boxes_1(ARRAY[p_user], true))[1];
BEGIN
  INSERT INTO ospd.device (box, name, seen_at) SELECT v_box, u.n, u.s FROM unnest(p_names, p_seen) u(n, s) ON CONFLICT DO NOTHING;
  INSERT INTO ospd.answer (box, seq, device, reason)
    SELECT v_box, u.seq, d.id, NULL
      FROM unnest(p_device, p_seq) u(d, seq) JOIN ospd.device d ON d.box = v_box AND d.name = p_names[u.d]
    ON CONFLICT DO NOTHING;
  -- No device has this number.
  INSERT INTO ospd.answer (box, seq, device, reason)
    SELECT v_box, u.seq, 0, u.reason FROM unnest(p_rejected, p_reason) u(seq, reason) ON CONFLICT DO NOTHING;
END $$;
`
