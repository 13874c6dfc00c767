/** The tables of sessions and registrations. */
export const linkTables = `
-- Changes of the registrations of a server up to this version may be missing in "presence".
ALTER TABLE ospd.server ADD presence_kept bigint NOT NULL DEFAULT 0;

-- The registrations of each server. A server changes its own rows only, and each step has a version of its own.
CREATE TABLE ospd.presence (
  server bigint NOT NULL,
  link bigint NOT NULL,
  user_name text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  here boolean NOT NULL,
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (server, link)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX presence_version ON ospd.presence (server, version);
CREATE INDEX presence_gone ON ospd.presence (server, changed_at) WHERE NOT here;

CREATE SEQUENCE ospd.opened_link;

-- The link of each client's session. Requests of an older link of the session are refused.
CREATE TABLE ospd.session (
  user_name text COLLATE "C" NOT NULL,
  session uuid NOT NULL,
  server bigint NOT NULL,
  link bigint NOT NULL,
  attempt bigint NOT NULL,
  opened bigint NOT NULL, -- rises with each link that is opened
  PRIMARY KEY (user_name, session)
) WITH (fillfactor = 70);
CREATE INDEX session_server ON ospd.session (server);

-- Link numbers, in blocks of 65,536.
CREATE SEQUENCE ospd.link_block;
`

/** The steps of sessions and registrations. */
export const linkFunctions = `
-- Returns whether the server is alive, by the clock of the database.
CREATE FUNCTION ospd.lives_1(p_server bigint) RETURNS boolean STABLE LANGUAGE sql AS $$
  SELECT EXISTS (SELECT FROM ospd.server s WHERE s.id = p_server AND NOT s.dead AND s.lease_until > clock_timestamp())
$$;

-- Rejects the steps of a server that was declared dead.
CREATE FUNCTION ospd.check_server_1(p_server bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM ospd.server s WHERE s.id = p_server AND NOT s.dead) THEN
    RAISE EXCEPTION USING ERRCODE = 'OS001', MESSAGE = format('the server %s was declared dead, so its links have ended', p_server);
  END IF;
END $$;

-- Makes this link the link of its session, and returns the former one.
CREATE FUNCTION ospd.open_session_1(p_user text, p_session uuid, p_server bigint, p_link bigint, p_attempt bigint)
RETURNS TABLE (server bigint, link bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_former ospd.session;
BEGIN
  PERFORM ospd.check_server_1(p_server);
  LOOP
    INSERT INTO ospd.session (user_name, session, server, link, attempt, opened)
      VALUES (p_user, p_session, p_server, p_link, p_attempt, nextval('ospd.opened_link')) ON CONFLICT DO NOTHING;
    EXIT WHEN FOUND;
    SELECT s.* INTO v_former FROM ospd.session s WHERE s.user_name = p_user AND s.session = p_session FOR NO KEY UPDATE;
    -- A row that was removed in between is inserted in the next round.
    CONTINUE WHEN NOT FOUND;
    IF v_former.attempt > p_attempt AND (v_former.server, v_former.link) <> (p_server, p_link) THEN
      RAISE EXCEPTION USING ERRCODE = 'OS002', MESSAGE = 'a newer link of the same program has replaced this one';
    END IF;
    UPDATE ospd.session s SET server = p_server, link = p_link, attempt = p_attempt, opened = nextval('ospd.opened_link')
      WHERE s.user_name = p_user AND s.session = p_session;
    RETURN QUERY SELECT v_former.server, v_former.link WHERE (v_former.server, v_former.link) <> (p_server, p_link);
    EXIT;
  END LOOP;
END $$;

-- Rejects requests of a link if its session has another one. The link of a session cannot change before the end of the transaction.
CREATE FUNCTION ospd.check_not_replaced_1(p_user text, p_session uuid, p_server bigint, p_link bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_present ospd.session;
BEGIN
  SELECT s.* INTO v_present FROM ospd.session s WHERE s.user_name = p_user AND s.session = p_session FOR SHARE;
  IF (v_present.server, v_present.link) <> (p_server, p_link) THEN
    RAISE EXCEPTION USING ERRCODE = 'OS001', MESSAGE = 'a newer link of the same program has replaced this one';
  END IF;
END $$;

-- Stores changes of the registrations of a live server after version p_after. Returns the version of its part.
CREATE FUNCTION ospd.present_1(p_server bigint, p_after bigint, p_links bigint[], p_users text[], p_here boolean[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  v_server ospd.server;
  v_kept bigint;
BEGIN
  SELECT * INTO v_server FROM ospd.server WHERE id = p_server FOR NO KEY UPDATE;
  -- A repetition of an earlier step changes nothing.
  IF NOT FOUND OR v_server.dead OR v_server.presence_version <> p_after THEN RETURN v_server.presence_version; END IF;
  INSERT INTO ospd.presence (server, link, user_name, version, here, changed_at)
    SELECT DISTINCT ON (u.link) p_server, u.link, u.user_name, p_after + 1, u.here, clock_timestamp()
      FROM unnest(p_links, p_users, p_here) WITH ORDINALITY u (link, user_name, here, o) ORDER BY u.link, u.o DESC
    ON CONFLICT (server, link) DO UPDATE
      SET user_name = excluded.user_name, version = excluded.version, here = excluded.here, changed_at = excluded.changed_at;
  WITH old AS (
    DELETE FROM ospd.presence WHERE server = p_server AND NOT here AND changed_at < clock_timestamp() - interval '10 minutes'
    RETURNING version)
  SELECT max(version) INTO v_kept FROM old;
  UPDATE ospd.server SET presence_version = p_after + 1, presence_kept = greatest(presence_kept, v_kept) WHERE id = p_server;
  RETURN p_after + 1;
END $$;
`
