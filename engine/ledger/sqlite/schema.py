"""The tables of `log.db`. The triggers are guard rails against faults of ours, not security: signatures are."""

from __future__ import annotations

from typing import Any

import apsw

from engine.errors import IntegrityError
from engine.ledger.store import Head

LOG_SCHEMA = """
CREATE TABLE meta(k TEXT PRIMARY KEY, v BLOB NOT NULL) STRICT;
CREATE TABLE blob(digest BLOB PRIMARY KEY CHECK(length(digest)=32), kind INT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE entry(entry_index INTEGER PRIMARY KEY CHECK(entry_index>=0), leaf_data BLOB NOT NULL CHECK(
  length(leaf_data) BETWEEN 397 AND 65535 AND hex(substr(leaf_data,44,8))=printf('%016X',entry_index))) STRICT;
CREATE TABLE sealed(entry_index INT NOT NULL REFERENCES entry(entry_index), part INT NOT NULL CHECK(part IN (1,2)),
  body BLOB, PRIMARY KEY(entry_index,part)) STRICT;
CREATE TABLE tile(level INT NOT NULL, tile_index INT NOT NULL, hashes BLOB NOT NULL CHECK(
  length(hashes)%32=0 AND length(hashes) BETWEEN 32 AND 8192), PRIMARY KEY(level,tile_index)) STRICT;
CREATE TABLE head(id INT PRIMARY KEY CHECK(id=1), size INT NOT NULL, state BLOB NOT NULL CHECK(length(state)%32=0),
  last_time INT NOT NULL, epoch INT NOT NULL) STRICT;
CREATE TABLE checkpoint(size INT PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TABLE cosignature(size INT NOT NULL REFERENCES checkpoint(size), line BLOB NOT NULL,
  PRIMARY KEY(size,line)) STRICT;
CREATE TABLE idempotency(tenant INT NOT NULL, key_mac BLOB NOT NULL, entry_index INT NOT NULL
  REFERENCES entry(entry_index), request_mac BLOB NOT NULL, expires_at INT NOT NULL,
  PRIMARY KEY(tenant,key_mac)) STRICT;
CREATE INDEX idempotency_entry ON idempotency(entry_index);
CREATE TABLE batch(batch_id BLOB PRIMARY KEY, first_index INT NOT NULL, entry_count INT NOT NULL,
  expires_at INT NOT NULL) STRICT;
CREATE TABLE search(entry_index INTEGER PRIMARY KEY, kind INT NOT NULL, logged_at INT NOT NULL, tenant INT NOT NULL,
  pack_digest BLOB NOT NULL, key_id BLOB NOT NULL, entry_id BLOB NOT NULL UNIQUE) STRICT;
CREATE INDEX search_time ON search(logged_at);
CREATE INDEX search_key ON search(key_id);
CREATE TRIGGER entry_u BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT,'append only'); END;
CREATE TRIGGER entry_d BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT,'append only'); END;
CREATE TRIGGER checkpoint_u BEFORE UPDATE ON checkpoint BEGIN SELECT RAISE(ABORT,'append only'); END;
CREATE TRIGGER checkpoint_d BEFORE DELETE ON checkpoint BEGIN SELECT RAISE(ABORT,'append only'); END;
CREATE TRIGGER sealed_u BEFORE UPDATE ON sealed WHEN NEW.body IS NOT NULL OR NEW.entry_index<>OLD.entry_index
  OR NEW.part<>OLD.part BEGIN SELECT RAISE(ABORT,'erase only'); END;
CREATE TRIGGER sealed_d BEFORE DELETE ON sealed BEGIN SELECT RAISE(ABORT,'erase only'); END;
CREATE TRIGGER tile_u BEFORE UPDATE ON tile WHEN substr(NEW.hashes,1,length(OLD.hashes))<>OLD.hashes
  BEGIN SELECT RAISE(ABORT,'tiles only grow'); END;
CREATE TRIGGER head_u BEFORE UPDATE ON head WHEN NEW.size<OLD.size OR NEW.last_time<OLD.last_time
  OR NEW.epoch<OLD.epoch BEGIN SELECT RAISE(ABORT,'head only grows'); END;
"""

HEAD = "SELECT size, state, last_time, epoch FROM head"
BATCHES = "SELECT batch_id, first_index, entry_count, expires_at FROM batch"
TILE = "SELECT hashes FROM tile WHERE level=? AND tile_index=?"


def read_head(connection: apsw.Connection) -> Head:
    """Give the head. Raises: IntegrityError where there is none."""
    row: Any = connection.execute(HEAD).fetchone()
    if row is None:
        message = "the log has no head; `eligibility log verify --rebuild` makes it again from the entries"
        raise IntegrityError(message, "table head")
    return Head(*row)


def schema_of(connection: apsw.Connection) -> list[Any]:
    """List what a file defines: tables, indexes, triggers, views."""
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall()


def expected_schema() -> list[Any]:
    """List what this build defines."""
    fresh = apsw.Connection(":memory:")
    fresh.execute(LOG_SCHEMA)
    return schema_of(fresh)
