"""`engine.ledger.postgres.faults`: a role without a right, and a database without tables."""

from __future__ import annotations

import psycopg
import pytest

from engine.ledger.postgres.faults import fault
from engine.ledger.store import UnsafeStoreError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (psycopg.errors.InsufficientPrivilege(), "a first start and an erasure need --log-owner"),
        (psycopg.errors.UndefinedTable(), r"lacks the tables of this build \(SQLSTATE 42P01\)"),
        (psycopg.errors.InvalidSchemaName(), r"lacks the tables of this build \(SQLSTATE 3F000\)"),
    ],
)
def test_a_missing_right_is_told_apart_from_missing_tables(error: psycopg.Error, told: str) -> None:
    with pytest.raises(UnsafeStoreError, match=told):
        raise fault(error)
