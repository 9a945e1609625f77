"""`engine.pack.load`: packs, which of them answer, and what is left out."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.errors import NoRulePackError, RulePackError
from engine.pack.load import load_rules, read_rules

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

GOOD = Path(__file__).parents[1] / "packs" / "good"


@pytest.fixture
def book() -> RuleBook:
    return load_rules(GOOD)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    shutil.copytree(GOOD, tmp_path / "rules")
    return tmp_path / "rules"


def _swap(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_pack_answers_after_those_it_extends(book: RuleBook) -> None:
    assert [p.id for p in book.packs_for("US")] == ["tiny"]
    assert [p.id for p in book.packs_for("US", "ACME")] == ["tiny", "payer-acme"]
    assert [p.id for p in book.family(book.packs["payer-acme"])] == ["tiny", "payer-acme"]


def test_a_payer_without_a_pack_adds_none(book: RuleBook) -> None:
    assert book.packs_for("US", "NOBODY") == book.packs_for("US")


def test_a_jurisdiction_without_a_pack_is_named_with_those_that_have_one(book: RuleBook) -> None:
    with pytest.raises(NoRulePackError, match="`EU`; packs are loaded for US"):
        book.packs_for("EU")


@pytest.mark.parametrize("status", ["draft", "retired"])
def test_a_pack_that_is_not_active_answers_nobody_and_needs_no_pin(rules: Path, status: str) -> None:
    _swap(rules / "payers/acme/pack.yaml", "status: active", f"status: {status}")
    book = load_rules(rules)
    assert book.payers == frozenset()
    assert [p.id for p in book.packs_for("US", "ACME")] == ["tiny"]


def test_only_active_packs_serve_a_jurisdiction(rules: Path) -> None:
    shutil.copytree(rules / "payers/acme", rules / "draft")
    text = (rules / "draft/pack.yaml").read_text(encoding="utf-8")
    text = text.replace("payer-acme", "europe").replace("payer: ACME", "serves: EU").replace("active", "draft")
    text = text.replace("standing: A made-up policy.\n", "")
    (rules / "draft/pack.yaml").write_text(text, encoding="utf-8")
    _swap(rules / "draft/coverage.yaml", "PAY-ACME-01", "EU-01")
    assert load_rules(rules).jurisdictions == {"US"}


def test_what_cannot_be_read_is_left_out_and_told(rules: Path) -> None:
    _swap(rules / "tiny/spray/rules.yaml", "effect: cautions", "effect: warns")
    book, faults = read_rules(rules)
    assert book is not None
    assert "TINY-WP-01" not in book.packs["tiny"].criteria
    assert "TINY-CI-01" in book.packs["tiny"].criteria
    assert [f.code for f in faults] == ["pack/shape"]
    with pytest.raises(RulePackError, match=r"tiny/spray/rules\.yaml:53:3"):
        load_rules(rules)


def test_files_are_read_by_their_name(book: RuleBook) -> None:
    pack = book.packs["tiny"]
    assert pack.folder == "tiny"
    assert pack.file_of("TINY-CI-01") == "tiny/spray/rules.yaml"
    assert pack.triage is not None
    assert pack.triage.levels == ("none", "high")
    assert "TINY-SUI-01" in pack.criteria
    assert [d.id for d in pack.derived] == ["grade", "trial_was_long", "failed", "one_failed"]
    assert [r.id for r in pack.referrals] == ["helper/emergency/TINY-SUI-01"]
    assert book.derived("grade") == pack.derived[0]
    assert book.derived("nothing") is None


def test_a_parameter_has_the_value_of_its_day(rules: Path) -> None:
    _swap(rules / "tiny/parameters.yaml", "{2020-01-01: 140}", "{2020-01-01: 140, 2025-01-01: 130}")
    limit = load_rules(rules, is_locked=False).packs["tiny"].parameters["pressure_limit"]
    days = (date(2019, 1, 1), date(2024, 12, 31), date(2025, 1, 1))
    assert [int(limit.at(day)) for day in days] == [140, 140, 130]
