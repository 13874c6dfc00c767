/** The table of users, and its steps. */
export const userSchema = `
-- The users. "alike" is equal for names that people confuse.
CREATE TABLE ospd.app_user (
  name text COLLATE "C" PRIMARY KEY,
  alike text COLLATE "C" NOT NULL UNIQUE,
  token_hash bytea NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row: the version of the table of users.
CREATE TABLE ospd.users_version (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version bigint NOT NULL DEFAULT 1
);
INSERT INTO ospd.users_version DEFAULT VALUES;

-- Adds or replaces a user, or removes it ("p_hash" is null). Returns a name that looks alike, without a change, if there is one.
CREATE FUNCTION ospd.set_user_1(p_name text, p_alike text, p_hash bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v_other text;
BEGIN
  -- The lock of the row serializes the changes, so that a version always has the same users.
  UPDATE ospd.users_version SET version = version + 1;
  IF p_hash IS NULL THEN
    DELETE FROM ospd.app_user WHERE name = p_name;
    RETURN NULL;
  END IF;
  SELECT name INTO v_other FROM ospd.app_user WHERE alike = p_alike AND name <> p_name;
  IF FOUND THEN RETURN v_other; END IF;
  INSERT INTO ospd.app_user (name, alike, token_hash) VALUES (p_name, p_alike, p_hash)
    ON CONFLICT (name) DO UPDATE SET token_hash = excluded.token_hash, since = excluded.since;
  RETURN NULL;
END $$;
`
