import { fixed } from '../../../limits.ts'

/** The tables of the mailboxes. */
export const mailTables = `
-- A message has the same number in all its mailboxes. Numbers must rise in the order of the calls, so the sequence has no cache.
CREATE SEQUENCE ospd.message_seq CACHE 1;

-- The mailboxes, each with its counters and its reader. A row is added with the first message or registration of a user.
CREATE TABLE ospd.box (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  messages int NOT NULL DEFAULT 0, -- waiting messages, including those that were set aside
  bytes bigint NOT NULL DEFAULT 0, -- bytes of the content of these messages
  ids int NOT NULL DEFAULT 0, -- remembered ids of this sender
  last_seq bigint NOT NULL DEFAULT 0,
  floor bigint NOT NULL DEFAULT 0, -- no message at or below this seq waits to be read
  epoch bigint NOT NULL DEFAULT 0, -- the number of the latest registration
  reader bigint, -- the server of the registered link, if the user is registered
  reader_link bigint,
  reader_session uuid,
  handed bigint NOT NULL DEFAULT 0, -- earlier readers may have handed out messages up to this seq
  superseded uuid[] NOT NULL DEFAULT '{}' -- the last 8 sessions that have lost the mailbox
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX box_reader ON ospd.box (reader) WHERE reader IS NOT NULL;

-- A message in a mailbox: inserted once, deleted once. Only "aside" is updated, and "expires_at" when it is inserted.
CREATE TABLE ospd.mail (
  box int NOT NULL,
  seq bigint NOT NULL,
  sender int NOT NULL,
  id uuid NOT NULL,
  sent_at bigint NOT NULL,
  stored_at float8 NOT NULL,
  bytes int NOT NULL,
  aside boolean NOT NULL DEFAULT false,
  content bytea, -- NULL: the content is in "body", once for all recipients
  PRIMARY KEY (box, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 200000,
        autovacuum_vacuum_cost_delay = 1, autovacuum_vacuum_cost_limit = 2000);
ALTER TABLE ospd.mail ALTER content SET STORAGE EXTERNAL;
-- For the share of a sender in one mailbox and in all mailboxes.
CREATE INDEX mail_sender ON ospd.mail (sender, box) INCLUDE (bytes);

-- The content of long messages to several recipients.
CREATE TABLE ospd.body (seq bigint PRIMARY KEY, content bytea NOT NULL);
ALTER TABLE ospd.body ALTER content SET STORAGE EXTERNAL;

-- Messages that were refused although an earlier link of the sender may still send them. Kept for ten minutes, and up to
-- ${fixed.refusedIds} of each sender.
CREATE TABLE ospd.refused (
  sender int NOT NULL,
  id uuid NOT NULL,
  opened bigint NOT NULL, -- the number of the link over which the message was refused: an earlier link does not store it
  refused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (sender, id)
);

-- The remembered ids of messages.
CREATE TABLE ospd.sent (
  sender int NOT NULL,
  id uuid NOT NULL,
  print int NOT NULL, -- the CRC-32 of recipients and content
  stored_at float8 NOT NULL,
  PRIMARY KEY (sender, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);
`

/** The expiry times of messages with a time to live, the return of messages that were set aside, and readers without a link. */
export const mailAdditions = `
ALTER TABLE ospd.mail ADD COLUMN IF NOT EXISTS expires_at bigint; -- ms since 1970
CREATE INDEX IF NOT EXISTS mail_expires ON ospd.mail (expires_at) WHERE expires_at IS NOT NULL;

/*
 * As post_1, with ends of times to live. p_limited: the positions of the messages that have one. The new messages of a mailbox have
 * higher seqs than all earlier ones.
 */
CREATE OR REPLACE FUNCTION ospd.post_limited_1(
  p_server bigint, p_users text[],
  p_sender int[], p_id uuid[], p_print int[], p_sent bigint[], p_stored float8[], p_from int[], p_len int[], p_first int[],
  p_content bytea, p_message int[], p_to int[], p_pair int[],
  p_by int[], p_by_user int[], p_session uuid[], p_link bigint[],
  p_messages bigint, p_bytes bigint, p_sender_ids bigint, p_all_messages bigint, p_all_bytes bigint, p_all_ids bigint, p_share float8,
  p_limited int[], p_expires bigint[]
) RETURNS ospd.posted LANGUAGE plpgsql AS $$
DECLARE
  r ospd.posted;
  v_last bigint;
BEGIN
  SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO v_last FROM ospd.message_seq;
  r := ospd.post_1(p_server, p_users, p_sender, p_id, p_print, p_sent, p_stored, p_from, p_len, p_first, p_content, p_message, p_to, p_pair,
    p_by, p_by_user, p_session, p_link, p_messages, p_bytes, p_sender_ids, p_all_messages, p_all_bytes, p_all_ids, p_share);
  UPDATE ospd.mail m SET expires_at = x.expires_at FROM (
    SELECT t.id AS box, s.id AS sender, p_id[l.o] AS id, l.e AS expires_at
      FROM unnest(p_limited, p_expires) l(o, e)
      JOIN unnest(p_message, p_to) d(m, t) ON d.m = l.o
      JOIN ospd.box t ON t.name = p_users[d.t]
      JOIN ospd.box s ON s.name = p_users[p_sender[l.o]]) x
   WHERE m.box = x.box AND m.seq > v_last AND m.sender = x.sender AND m.id = x.id;
  RETURN r;
END $$;

-- Returns messages that were set aside to the mailbox of p_user, as its last ones.
CREATE OR REPLACE FUNCTION ospd.return_2(p_server bigint, p_user text, p_seq bigint[], p_stored float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_box int := (ospd.lock_boxes_1(ARRAY[p_user], false))[1];
  v_former bigint;
  v_seq bigint;
BEGIN
  FOR v_former IN SELECT m.seq FROM ospd.mail m WHERE m.box = v_box AND m.seq = ANY (p_seq) AND m.aside ORDER BY m.seq LOOP
    v_seq := nextval('ospd.message_seq');
    INSERT INTO ospd.mail (box, seq, sender, id, sent_at, stored_at, expires_at, bytes, content)
      SELECT m.box, v_seq, m.sender, m.id, m.sent_at, p_stored, m.expires_at, m.bytes,
             coalesce(m.content, (SELECT d.content FROM ospd.body d WHERE d.seq = m.seq))
        FROM ospd.mail m WHERE m.box = v_box AND m.seq = v_former;
    DELETE FROM ospd.mail m WHERE m.box = v_box AND m.seq = v_former;
  END LOOP;
  IF v_seq IS NULL THEN RETURN; END IF;
  UPDATE ospd.box SET last_seq = v_seq WHERE id = v_box;
  UPDATE ospd.server SET age = greatest(age, p_stored) WHERE id = p_server;
END $$;

-- Makes a server the reader of the mailbox of p_user, which has no link, unless another server is. Returns whether it is. A dead
-- server can remain the reader if it attends the mailbox while it is declared dead.
CREATE OR REPLACE FUNCTION ospd.attend_2(p_server bigint, p_user text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_reader bigint := (SELECT reader FROM ospd.box WHERE name = p_user);
  v_box int;
BEGIN
  IF v_reader IS DISTINCT FROM p_server THEN
    v_box := (ospd.lock_boxes_1(ARRAY[p_user], true))[1];
    UPDATE ospd.box b SET reader = p_server, reader_link = 0, reader_session = NULL, epoch = b.epoch + 1
     WHERE b.id = v_box AND NOT EXISTS (SELECT FROM ospd.server s WHERE s.id = b.reader AND NOT s.dead)
    RETURNING b.reader INTO v_reader;
  END IF;
  RETURN v_reader = p_server AND EXISTS (SELECT FROM ospd.server s WHERE s.id = p_server AND NOT s.dead);
END $$;
`
