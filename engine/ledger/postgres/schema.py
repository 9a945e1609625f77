"""The tables and functions of the log in PostgreSQL, and how they come to be.

Nobody who logs in may insert, update or delete: a writer that is taken over can add through the functions and change
nothing. The functions check what a fault of ours would break first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.ledger.store import UnsafeStoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.ledger.postgres.session import Transaction

VERSION_KEY = "schema"
"""The key in meta under which the number of the last script that was run stands, as text."""

ROLES = """
DO $$
DECLARE wanted record; BEGIN
  FOR wanted IN VALUES ('log_owner', 'NOLOGIN'), ('log_writer', 'LOGIN'), ('log_reader', 'LOGIN'),
    ('log_eraser', 'LOGIN') LOOP
    IF to_regrole(wanted.column1) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I %s', wanted.column1, wanted.column2);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- made meanwhile, for another log of this server
      END;
    END IF;
  END LOOP;
  -- From 16 on whoever made a role is a member of it and yet may not take it on.
  IF NOT pg_has_role(current_user, 'log_owner',
    CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
    GRANT log_owner TO CURRENT_USER;
  END IF;
END $$;
CREATE SCHEMA IF NOT EXISTS log AUTHORIZATION log_owner;
"""

VERSION_1 = """
CREATE TABLE meta(k text PRIMARY KEY, v bytea NOT NULL);
CREATE TABLE blob(digest bytea PRIMARY KEY CHECK(digest = sha256(body)), kind smallint NOT NULL, body bytea NOT NULL);
CREATE TABLE entry(entry_index bigint PRIMARY KEY CHECK(entry_index >= 0), leaf_data bytea NOT NULL CHECK(
  octet_length(leaf_data) BETWEEN 397 AND 65535 AND substring(leaf_data FROM 44 FOR 8) = int8send(entry_index)));
CREATE TABLE sealed(entry_index bigint NOT NULL REFERENCES entry, part smallint NOT NULL CHECK(part IN (1, 2)),
  body bytea, PRIMARY KEY(entry_index, part));
CREATE TABLE tile(level smallint NOT NULL, tile_index bigint NOT NULL, hashes bytea NOT NULL CHECK(
  octet_length(hashes) % 32 = 0 AND octet_length(hashes) BETWEEN 32 AND 8192),
  PRIMARY KEY(level, tile_index)) WITH (fillfactor = 50);
CREATE TABLE head(id smallint PRIMARY KEY CHECK(id = 1), size bigint NOT NULL, state bytea NOT NULL,
  last_time bigint NOT NULL, epoch bigint NOT NULL) WITH (fillfactor = 10);
CREATE TABLE checkpoint(size bigint PRIMARY KEY, note bytea NOT NULL);
CREATE TABLE cosignature(size bigint NOT NULL REFERENCES checkpoint, line bytea NOT NULL, PRIMARY KEY(size, line));
CREATE TABLE idempotency(tenant bigint NOT NULL, key_mac bytea NOT NULL, entry_index bigint NOT NULL REFERENCES entry,
  request_mac bytea NOT NULL, expires_at bigint NOT NULL, PRIMARY KEY(tenant, key_mac));
CREATE INDEX idempotency_entry ON idempotency(entry_index);
CREATE TABLE batch(batch_id bytea PRIMARY KEY, first_index bigint NOT NULL, entry_count int NOT NULL,
  expires_at bigint NOT NULL);
CREATE TABLE search(entry_index bigint PRIMARY KEY, kind smallint NOT NULL, logged_at bigint NOT NULL,
  tenant bigint NOT NULL, pack_digest bytea NOT NULL, key_id bytea NOT NULL, entry_id bytea NOT NULL UNIQUE);
CREATE INDEX search_time ON search(logged_at);
CREATE INDEX search_key ON search(key_id);
ALTER TABLE sealed ALTER body SET STORAGE EXTERNAL;
ALTER TABLE tile ALTER hashes SET STORAGE EXTERNAL;

CREATE FUNCTION lock_head(p_epoch bigint) RETURNS head
LANGUAGE plpgsql SECURITY DEFINER SET search_path = log, pg_temp AS $$
DECLARE h head; BEGIN
  IF current_setting('fsync') <> 'on' OR current_setting('full_page_writes') <> 'on' OR pg_is_in_recovery()
     OR current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
    RAISE EXCEPTION 'unsafe durability settings' USING ERRCODE = 'LG001';
  END IF;
  SELECT * INTO STRICT h FROM head WHERE id = 1 FOR UPDATE;  -- the one global order
  IF h.epoch <> p_epoch THEN RAISE EXCEPTION 'stale epoch' USING ERRCODE = 'LG002'; END IF;
  RETURN h;
END $$;

CREATE FUNCTION right_edge() RETURNS SETOF tile
LANGUAGE plpgsql STABLE SET search_path = log, pg_temp AS $$
DECLARE n bigint := (SELECT size FROM head WHERE id = 1); BEGIN
  FOR l IN 0..6 LOOP
    EXIT WHEN n >> 8 * l = 0;
    IF n >> 8 * l & 255 <> 0 THEN
      RETURN QUERY SELECT * FROM tile WHERE level = l AND tile_index = n >> 8 * (l + 1);
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION append_batch(p_epoch bigint, p_first bigint, p_leaves bytea[], p_state bytea, p_last_time bigint,
  p_sealed_index bigint[], p_sealed_part smallint[], p_sealed bytea[],
  p_tile_level smallint[], p_tile_index bigint[], p_tile bytea[],
  p_idempotency_tenant bigint[], p_idempotency_key bytea[], p_idempotency_index bigint[], p_request_mac bytea[],
  p_batch bytea, p_expires bigint, p_blobs bytea[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = log, pg_temp AS $$
DECLARE added int := cardinality(p_leaves); have int; BEGIN
  UPDATE head SET size = size + added, state = p_state, last_time = p_last_time
    WHERE id = 1 AND size = p_first AND epoch = p_epoch AND last_time <= p_last_time;
  IF NOT FOUND OR added = 0 THEN RAISE EXCEPTION 'head moved' USING ERRCODE = 'LG003'; END IF;
  SELECT count(*) INTO have FROM blob WHERE digest = ANY(p_blobs);  -- distinct digests named by the batch
  IF have <> cardinality(p_blobs) THEN RAISE EXCEPTION 'missing blob' USING ERRCODE = 'LG004'; END IF;
  INSERT INTO entry SELECT p_first + o - 1, l FROM unnest(p_leaves) WITH ORDINALITY u(l, o);
  INSERT INTO sealed SELECT * FROM unnest(p_sealed_index, p_sealed_part, p_sealed);
  INSERT INTO search SELECT p_first + o - 1, get_byte(l, 10),
    ('x' || encode(substring(l FROM 52 FOR 8), 'hex'))::bit(64)::bigint,
    ('x00000000' || encode(substring(l FROM 77 FOR 4), 'hex'))::bit(64)::bigint,
    substring(l FROM 97 FOR 32), substring(l FROM 225 FOR 16), substring(l FROM 61 FOR 16)
    FROM unnest(p_leaves) WITH ORDINALITY u(l, o);
  INSERT INTO tile AS t SELECT * FROM unnest(p_tile_level, p_tile_index, p_tile)
    ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes
    WHERE substring(excluded.hashes FROM 1 FOR octet_length(t.hashes)) = t.hashes;
  GET DIAGNOSTICS have = ROW_COUNT;
  IF have <> cardinality(p_tile) THEN RAISE EXCEPTION 'tile does not extend' USING ERRCODE = 'LG005'; END IF;
  INSERT INTO idempotency AS i SELECT t, k, e, r, p_expires
    FROM unnest(p_idempotency_tenant, p_idempotency_key, p_idempotency_index, p_request_mac) u(t, k, e, r)
    ON CONFLICT (tenant, key_mac) DO UPDATE SET entry_index = excluded.entry_index,
      request_mac = excluded.request_mac, expires_at = excluded.expires_at WHERE i.expires_at < p_last_time;
  GET DIAGNOSTICS have = ROW_COUNT;
  IF have <> cardinality(p_idempotency_key) THEN
    RAISE EXCEPTION 'request has its entry' USING ERRCODE = 'LG007';
  END IF;
  INSERT INTO batch VALUES (p_batch, p_first, added, p_expires);
END $$;

CREATE FUNCTION add_checkpoints(p_sizes bigint[], p_notes bytea[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = log, pg_temp AS $$
  INSERT INTO checkpoint SELECT s, n FROM unnest(p_sizes, p_notes) u(s, n), head WHERE id = 1 AND size >= s
    ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION put_blob(p_digest bytea, p_kind smallint, p_body bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = log, pg_temp AS $$
  INSERT INTO blob VALUES (p_digest, p_kind, p_body) ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION expire(p_now bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = log, pg_temp AS $$
  DELETE FROM idempotency WHERE expires_at < (SELECT least(p_now, last_time) FROM head);
  DELETE FROM batch WHERE expires_at < (SELECT least(p_now, last_time) FROM head)
$$;

CREATE FUNCTION erase_bodies(p_tombstone bigint, p_key bytea) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = log, pg_temp AS $$
DECLARE leaf bytea; done bigint; BEGIN
  SELECT leaf_data INTO leaf FROM entry WHERE entry_index = p_tombstone AND get_byte(leaf_data, 10) = 7;
  IF NOT FOUND OR octet_length(p_key) <> 16 OR NOT EXISTS (
    SELECT FROM generate_series(0, ('x' || encode(substring(leaf FROM 398 FOR 4), 'hex'))::bit(32)::int / 16 - 1) n
    WHERE substring(leaf FROM 402 + 16 * n FOR 16) = p_key  -- the body begins with the length of the key ids
  ) THEN RAISE EXCEPTION 'no tombstone for this key' USING ERRCODE = 'LG006'; END IF;
  UPDATE idempotency SET request_mac = '' WHERE entry_index IN (SELECT entry_index FROM search WHERE key_id = p_key);
  UPDATE sealed SET body = NULL WHERE part = 1 AND body IS NOT NULL
    AND entry_index IN (SELECT entry_index FROM search WHERE key_id = p_key);
  GET DIAGNOSTICS done = ROW_COUNT;
  RETURN done;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log FROM PUBLIC;
GRANT USAGE ON SCHEMA log TO log_writer, log_reader, log_eraser;
GRANT SELECT ON ALL TABLES IN SCHEMA log TO log_writer, log_eraser;
GRANT SELECT ON meta, blob, entry, tile, head, checkpoint, cosignature, search TO log_reader;
GRANT EXECUTE ON FUNCTION lock_head, right_edge, append_batch, add_checkpoints, put_blob, expire TO log_writer;
GRANT EXECUTE ON FUNCTION erase_bodies TO log_eraser;
"""

MIGRATIONS = (VERSION_1,)
"""What leads from each version to the next, in order; run as `log_owner`. A script that was released never changes."""


_ALONE = "SELECT pg_advisory_xact_lock(7161447)"
"""Whoever creates or migrates does so alone."""


def create(transaction: Transaction, meta: Mapping[str, bytes], epoch: int) -> bool:
    """Make roles, tables, functions, the head of an empty log and meta; False if there is a log already."""
    transaction.run(_ALONE)
    if _exists(transaction):
        return False
    transaction.run(ROLES)
    _run(transaction, MIGRATIONS)
    transaction.ask("INSERT INTO log.head VALUES (1, 0, '', 0, %b::bigint)", epoch)
    for key, value in {VERSION_KEY: _version(MIGRATIONS), **meta}.items():
        transaction.ask("INSERT INTO log.meta VALUES (%b, %b)", key, value)
    transaction.has_written = True
    return True


def migrate(transaction: Transaction, scripts: Sequence[str] = MIGRATIONS) -> None:
    """Run the scripts that this log has not seen.

    Raises:
        UnsafeStoreError: there is no log, or it was made by a newer build.

    """
    transaction.run(_ALONE)
    if not _exists(transaction):
        message = "there is no log in this database; create it first"
        raise UnsafeStoreError(message)
    ((version,),) = transaction.ask("SELECT v FROM log.meta WHERE k = %s", VERSION_KEY)
    done = int(version)
    if done > len(scripts):
        message = f"the log has schema version {done}, which is newer than this build; install a newer build"
        raise UnsafeStoreError(message)
    if done == len(scripts):
        return
    _run(transaction, scripts[done:])
    transaction.ask("UPDATE log.meta SET v = %b WHERE k = %b", _version(scripts), VERSION_KEY)
    transaction.has_written = True


def _exists(transaction: Transaction) -> bool:
    ((is_there,),) = transaction.ask("SELECT to_regclass('log.meta') IS NOT NULL")
    return bool(is_there)


def _run(transaction: Transaction, scripts: Sequence[str]) -> None:
    transaction.run("SET LOCAL ROLE log_owner; SET LOCAL search_path = log")
    for script in scripts:
        transaction.run(script)


def _version(scripts: Sequence[str]) -> bytes:
    return str(len(scripts)).encode()
