"""`engine.pack.load`: packs, which of them answer, and what is left out."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.errors import NoRulePackError, RulePackError
from engine.pack import model, shape
from engine.pack.load import load_rules, read_rules, validated
from engine.pack.source import read_source

if TYPE_CHECKING:
    from engine.errors import Diagnostic
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


def test_the_library_speaks_the_words_of_authors(rules: Path) -> None:
    path = rules / "tiny/spray/rules.yaml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("- id: TINY-CI-01", "- id: tiny-ci-01").replace("effect: excludes", "effect: exclude")
    text = text.replace('[{source: book, section: "2", supports: adults with a failed trial}]', "[]")
    path.write_text(text.replace("of: trials", "of: [trials]"), encoding="utf-8")
    _, faults = read_rules(rules)
    told = "\n".join(map(str, faults))
    assert "`references` is empty" in told
    assert "did you mean `excludes`?" in told
    assert "`of` must be a text" in told
    assert "such as US-ESK-WP-09" in told
    for word in ("tuple", "string", "pattern", "input should", "validation"):
        assert word not in told.lower()


def test_every_pattern_of_the_model_has_words() -> None:
    models = [kind for kind in vars(model).values() if isinstance(kind, type) and issubclass(kind, model.Model)]
    patterns = {
        each.pattern
        for kind in models
        for field in kind.model_fields.values()
        for each in field.metadata
        if getattr(each, "pattern", None)
    }
    assert patterns == shape.WRITTEN.keys()


def test_a_value_that_may_have_several_shapes_is_told_all_of_them() -> None:
    source = read_source("derived.yaml", "id: concept\nlabel: a\nfirst_known: [fact, 5]\n")
    faults: list[Diagnostic] = []
    assert validated(model.Derived, source, (), source.data, faults) is None
    assert [(f.line, f.message) for f in faults] == [(3, "`first_known` must be a text or a mapping")]
