"""What has to be true of the server and of the schema before an entry is trusted to them.

The schema is compared by a listing: one line for each table, column, constraint, index, function, right and so on that
PostgreSQL's catalogs hold for it. Whatever could add to, hide or change rows shows as a line: triggers, rules, views,
policies, tables that inherit, functions and operators that would be found before PostgreSQL's own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.ledger.store import UnsafeStoreError

if TYPE_CHECKING:
    from engine.ledger.postgres.session import Transaction

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
OLDEST = 150000
"""PostgreSQL 15, in the form of server_version_num."""

_WANTED = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply"),
    "data_checksums": ("on",),
    "data_sync_retry": ("off",),
    "ignore_checksum_failure": ("off",),
    "zero_damaged_pages": ("off",),
    "session_replication_role": ("origin",),
}
"""What keeps acknowledged entries, has damage seen, and lets constraints be checked."""

_LISTING = """
WITH ours AS (SELECT * FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relkind <> 'i'),
     routine AS (SELECT * FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace),
     allowed AS (
       SELECT relname AS name, relowner AS owner, coalesce(relacl, acldefault('r', relowner)) AS rights FROM ours
       UNION ALL SELECT relname || '.' || attname, relowner, attacl FROM ours JOIN pg_attribute ON attrelid = ours.oid
       UNION ALL SELECT proname, proowner, coalesce(proacl, acldefault('f', proowner)) FROM routine
       UNION ALL SELECT nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace
         WHERE nspname = '{schema}')
SELECT format('relation %s %s%s rows %s%s owner %s %s', relname, relkind, relpersistence, relrowsecurity,
    relforcerowsecurity, coalesce(nullif(pg_get_userbyid(relowner), current_user), 'itself'), reloptions) FROM ours
UNION ALL SELECT format('column %s.%s %s notnull %s storage %s%s%s%s', relname, attname,
    format_type(atttypid, atttypmod), attnotnull, attstorage, attidentity, attgenerated,
    ' statistics ' || nullif(attstattarget, -1))
  FROM ours JOIN pg_attribute ON attrelid = ours.oid WHERE attnum > 0 AND NOT attisdropped
UNION ALL SELECT format('default %s %s', relname, pg_get_expr(adbin, adrelid))
  FROM ours JOIN pg_attrdef ON adrelid = ours.oid
UNION ALL SELECT format('constraint %s.%s valid %s %s', relname, conname, convalidated, pg_get_constraintdef(k.oid))
  FROM ours JOIN pg_constraint k ON conrelid = ours.oid WHERE contype <> 'n'  -- from 18 on also those of NOT NULL
UNION ALL SELECT format('index valid %s %s', indisvalid, pg_get_indexdef(indexrelid))
  FROM ours JOIN pg_index ON indrelid = ours.oid
UNION ALL SELECT format('trigger %s.%s', relname, tgname) FROM ours JOIN pg_trigger ON tgrelid = ours.oid
  WHERE NOT tgisinternal
UNION ALL SELECT format('trigger %s.%s switched %s', relname, tgname, tgenabled)
  FROM ours JOIN pg_trigger ON tgrelid = ours.oid WHERE tgenabled <> 'O'
UNION ALL SELECT format('rule %s.%s', relname, rulename) FROM ours JOIN pg_rewrite ON ev_class = ours.oid
UNION ALL SELECT format('policy %s.%s', relname, polname) FROM ours JOIN pg_policy ON polrelid = ours.oid
UNION ALL SELECT format('child %s of %s', inhrelid::regclass, relname)
  FROM ours JOIN pg_inherits ON inhparent = ours.oid
UNION ALL SELECT format('function %s(%s) gives %s in %s definer %s %s owner %s %s text %s', proname,
    pg_get_function_identity_arguments(routine.oid), pg_get_function_result(routine.oid), lanname, prosecdef,
    provolatile, coalesce(nullif(pg_get_userbyid(proowner), current_user), 'itself'), proconfig,
    left(encode(sha256(convert_to(prosrc, 'UTF8')), 'hex'), 32))
  FROM routine JOIN pg_language l ON prolang = l.oid
UNION ALL SELECT format('type %s', typname) FROM pg_type
  WHERE typnamespace = '{schema}'::regnamespace AND typrelid = 0 AND typcategory <> 'A'
UNION ALL SELECT format('operator %s', oprname) FROM pg_operator WHERE oprnamespace = '{schema}'::regnamespace
UNION ALL SELECT format('right %s on %s to %s', privilege_type, name,
    CASE grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(grantee) END)
  FROM allowed, aclexplode(rights) WHERE grantee <> owner AND privilege_type NOT IN ('SELECT', 'USAGE')
UNION ALL SELECT format('role %s may change what is written', rolname) FROM pg_roles
  WHERE rolname IN ('log_writer', 'log_reader', 'log_eraser')
    AND (rolsuper OR pg_has_role(oid, to_regrole('log_owner'), 'MEMBER'))
"""


def check_settings(transaction: Transaction, *, has_standby: bool) -> None:
    """Refuse a server that may lose or damage what it acknowledged. Raises: UnsafeStoreError."""
    version, is_standby, standbys = transaction.ask(
        "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), "
        "current_setting('synchronous_standby_names')"
    )[0]
    if version < OLDEST:
        message = f"PostgreSQL {version // 10000} is too old; install 15 or newer"
        raise UnsafeStoreError(message)
    if is_standby:
        message = "this PostgreSQL is a standby; give the address of the primary"
        raise UnsafeStoreError(message)
    if has_standby and not standbys:
        message = "PostgreSQL's `synchronous_standby_names` is empty although a standby is expected"
        raise UnsafeStoreError(message)
    for name, wanted in _WANTED.items():
        ((found,),) = transaction.ask("SELECT current_setting(%s)", name)
        if found not in wanted:
            message = f"PostgreSQL's `{name}` is `{found}` where `{wanted[0]}` is needed to keep what is acknowledged"
            raise UnsafeStoreError(message)


def check_schema(transaction: Transaction, schema: str) -> None:
    """Refuse a schema, `log` or `keys`, that is not what this build creates. Raises: UnsafeStoreError."""
    found = differences(transaction, schema)
    if found:
        message = f"schema `{schema}` is not what this build makes: {len(found)} differences, {found[0]}"
        raise UnsafeStoreError(message)


def differences(transaction: Transaction, schema: str) -> list[str]:
    """Name the lines of the listing that should not be there, and those that are missing."""
    found, expected = list_schema(transaction, schema), _expected(schema)
    unexpected = [f"unexpected `{line}`" for line in sorted(found - expected)]
    return unexpected + [f"missing `{line}`" for line in sorted(expected - found)]


def list_schema(transaction: Transaction, schema: str) -> frozenset[str]:
    """Give the listing of a schema."""
    return frozenset(line for (line,) in transaction.ask(_LISTING.replace("{schema}", schema)))


@cache
def _expected(schema: str) -> frozenset[str]:
    """Read the listing that stands beside this module."""
    return frozenset(Path(__file__).with_name(f"{schema}.txt").read_text(encoding="utf-8").splitlines())
