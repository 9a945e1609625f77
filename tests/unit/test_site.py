"""The site made from the rules: whole, linked, escaped, and the same every time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from click.testing import CliRunner

from engine.cli.root import root
from engine.errors import RulePackError
from engine.pack.cases import read_cases
from engine.pack.load import load_rules
from engine.pack.model import Effect
from engine.site.build import LISTING, build_site, write_site
from engine.site.catalog import slug
from engine.site.words import EFFECTS
from tests.unit.site_reading import broken_links, orphans, read_pages, small_rules

if TYPE_CHECKING:
    from tests.unit.site_reading import Read

ROOT = Path(__file__).parents[2]
HOSTILE = """</title><script>alert(1)</script><img src=x onerror=alert(1)> & "' {{ 7*7 }} \u202egnp.exe"""
DIGEST = """
import hashlib, sys
from pathlib import Path
from engine.site.build import build_site
made = build_site(Path(sys.argv[1]))
print(hashlib.sha256(repr(sorted(made.items())).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_rules(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def files(rules: Path) -> dict[str, str]:
    return build_site(rules)


@pytest.fixture(scope="module")
def pages(files: dict[str, str]) -> dict[str, Read]:
    return read_pages(files)


def test_every_link_leads_somewhere_and_every_page_is_found(files: dict[str, str], pages: dict[str, Read]) -> None:
    assert broken_links(files, pages) == []
    assert orphans(pages, "index.html") == set()
    assert "criteria/ABR-CI-01.html" in pages
    assert sum(len(page.values("href")) for page in pages.values()) > 1000


def test_a_broken_link_and_an_orphan_would_be_seen(files: dict[str, str]) -> None:
    torn = {path: text for path, text in files.items() if path != "facts.html"} | {"alone.html": "<p></p>"}
    read = read_pages(torn)
    assert "index.html -> facts.html#" in broken_links(torn, read)
    assert orphans(read, "index.html") == {"alone.html"}


def test_pages_are_whole(pages: dict[str, Read]) -> None:
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        assert page.headings[0] == 1, path
        assert page.headings.count(1) == 1, path
        assert all(after - before <= 1 for before, after in pairwise(page.headings)), path
        assert page.values("lang") == ["en-US"], path
        assert page.tags.count("main") == page.tags.count("title") == 1, path
        assert "script" not in page.tags, path
        assert "style" not in page.tags, path
        assert not [name for _, name, _ in page.attributes if name.startswith("on")], path


def test_every_criterion_and_concept_has_a_page_that_says_all(rules: Path, pages: dict[str, Read]) -> None:
    book = load_rules(rules, is_locked=False)
    for pack in book.packs.values():
        for name, criterion in pack.criteria.items():
            text = pages[f"criteria/{name}.html"].text
            for said in (criterion.title, name, criterion.note, criterion.contested, criterion.strength):
                assert said in text, name
            assert f"rules/{pack.file_of(name)}:" in text
            for cited in criterion.references:
                assert cited.supports in text
        for derived in pack.derived:
            assert derived.id in pages[f"concepts/{derived.id}.html"].text


def test_every_case_is_shown(rules: Path, pages: dict[str, Read]) -> None:
    cases, _ = read_cases(rules, load_rules(rules, is_locked=False))
    folders = {"criterion": "criteria/{}.html", "derived": "concepts/{}.html"}
    for case in cases:
        line, _ = case.located.source.place(case.located.path)
        path = folders[case.kind].format(case.subject) if case.kind in folders else "referrals.html"
        assert f"rules/{case.located.source.file}:{line}" in pages[path].text
        assert case.as_of.isoformat() in pages[path].text
    shown = sum(page.values("scope").count("rowgroup") for path, page in pages.items() if path != "differences.html")
    assert shown == len(cases) > 30


def test_cases_are_told_in_words(pages: dict[str, Read]) -> None:
    assert "drugs first drug, second drug" in pages["criteria/ABR-CI-01.html"].text
    assert "score 12, observed on 2023-04-29, by a chart" in pages["criteria/ABR-EX-01.html"].text
    assert "2023-04-30 in EU" in pages["criteria/ABR-EX-01.html"].text
    assert "pressure 141 mmHg" in pages["criteria/TINY-WP-01.html"].text
    assert "drug: alpha; weeks: 6 weeks" in pages["criteria/TINY-IND-01.html"].text
    assert "payer ACME" in pages["criteria/PAY-ACME-01.html"].text
    assert "nothing is known" in pages["criteria/TINY-CI-01.html"].text
    assert {"At least 0", "1", "0"} <= set(pages["concepts/failed.html"].words_in("h3"))


def test_a_condition_is_english_whose_names_are_links(pages: dict[str, Read]) -> None:
    page = pages["criteria/ABR-CI-01.html"]
    assert "all of: danger drugs: at least one allergy is present or absent unless: " in page.text
    assert "day of the score within the last 7 days" in page.text
    assert {"../facts.html#danger", "../facts.html#drugs", "../facts.html#scored_on"} <= set(page.values("href"))
    one = pages["criteria/TINY-IND-01.html"]
    assert "age at least 18 years at least one long trial" in one.text
    assert "../concepts/one_failed.html" in one.values("href")
    counted = pages["concepts/failed.html"]
    assert "how many trials have all of this, each ingredient once: six weeks or more" in counted.text


def test_the_first_witness_that_is_known_speaks_in_a_numbered_list(pages: dict[str, Read]) -> None:
    page = pages["concepts/grade.html"]
    assert "the first of these that is known: score: 0 to 9 says low; 10 to 20 says high" in page.text
    assert page.words_in("ol")[-2:] == ["score", ": 0 to 9 says low; 10 to 20 says high"]


def test_a_sentence_shows_where_values_will_stand(pages: dict[str, Read]) -> None:
    page = pages["criteria/ABR-CI-01.html"]
    assert "There is danger; the score is [score], where 15 is asked for." in page.text
    assert "../parameters.html#abroad_score" in page.values("href")


def test_numbers_are_told_by_date(pages: dict[str, Read]) -> None:
    assert "12 from 2021-01-01 15 from 2023-05-01" in pages["criteria/ABR-EX-01.html"].text
    local = pages["criteria/TINY-WP-01.html"].text
    assert "140 mmHg from 2020-01-01" in local
    assert "stricter, by the local pack ward 130 mmHg from 2024-02-01" in local
    assert "In US pressure above 140 mmHg In EU pressure above 130 mmHg" in local


def test_who_uses_an_item_is_told(pages: dict[str, Read]) -> None:
    facts = pages["facts.html"]
    assert facts.ids.count("trials.weeks_at_adequate_dose") == facts.ids.count("trials.ingredient") == 1
    assert "concepts/trial_was_long.html" in facts.values("href")
    concept = pages["concepts/trial_was_long.html"]
    assert "Read by 2 Too short TINY-TRX-01 Trials that were long failed" in concept.text
    assert "../criteria/TINY-TRX-01.html" in concept.values("href")
    assert "../criteria/TINY-IND-01.html" not in concept.values("href")
    assert "Steps back for" in pages["criteria/TINY-EX-01.html"].text
    assert "Named by the referral" in pages["criteria/TINY-SUI-01.html"].text
    assert "Says what the indications come to" in pages["criteria/TINY-IND-02.html"].text
    assert "Nothing else in the rules reads it." in pages["criteria/TINY-CON-01.html"].text


def test_a_draft_is_marked_and_its_condition_is_shown_as_it_is_written(pages: dict[str, Read]) -> None:
    page = pages["criteria/LATER-CI-01.html"].text
    assert "draft: does not answer" in page
    assert "it is shown as it is written. when: any: danger not: age_years >= 18 a unless: one_failed" in page
    assert "No active pack applies it now" in page
    assert "draft: does not answer" in pages["packs/later.html"].text
    assert "local: may only make answers stricter" in pages["packs/ward.html"].text
    assert "Tightens EU" in pages["packs/ward.html"].text


def test_the_start_page_says_who_stands_behind_each_pack(rules: Path, pages: dict[str, Read]) -> None:
    page = pages["index.html"].text
    for pack in load_rules(rules, is_locked=False).packs.values():
        assert pack.header.title in page
        assert pack.digest[:12] in page
        assert pack.header.version in page
    assert "a reviewer" in page
    assert page.count("Reviewers none") == 4
    assert "none: nobody has reviewed this pack" in pages["packs/tiny.html"].text


def test_every_effect_has_words() -> None:
    assert set(EFFECTS) == set(get_args(Effect))


def test_names_become_anchors_without_meeting() -> None:
    names = ["a b", "a~20b", "a/b", "a.b", "é", "A", "a"]
    assert len({slug(name) for name in names}) == len(names)
    assert slug("kind/urgency/ID-1") == "kind~2furgency~2fID-1"


def test_a_text_of_the_rules_never_becomes_markup(rules: Path, tmp_path: Path) -> None:
    copy = tmp_path / "rules"
    shutil.copytree(rules, copy)
    quoted = '"' + HOSTILE.replace('"', '\\"').replace("\u202e", "\\u202e") + '"'
    for file in ("abroad/spray/rules.yaml", "abroad/pack.yaml", "facts.yaml", "abroad/parameters.yaml"):
        text = (copy / file).read_text(encoding="utf-8")
        for old in ("Danger abroad", "Some see no danger.", "Compare with TINY-CI-01."):
            text = text.replace(old, quoted)
        text = text.replace("title: A pack abroad", f"title: {quoted}").replace("label: score,", f"label: {quoted},")
        text = text.replace("label: score from which care is needed abroad", f"label: {quoted}")
        (copy / file).write_text(text, encoding="utf-8")
    (copy / "abroad/CHANGELOG.md").write_text(f"# {HOSTILE}\n\n[x](javascript:alert(1)) {HOSTILE}\n", encoding="utf-8")
    made = build_site(copy)
    read = read_pages(made)
    assert broken_links(made, read) == []
    for path in ("criteria/ABR-CI-01.html", "packs/abroad.html", "facts.html", "parameters.html", "a-to-z.html"):
        assert "<script>alert(1)</script>" in read[path].text, path
        assert "[U+202E]gnp.exe" in read[path].text, path
    for path, page in read.items():
        assert "script" not in page.tags, path
        assert "img" not in page.tags, path
        assert not [link for link in page.values("href") if link.startswith("javascript")], path


def test_the_same_rules_give_the_same_bytes(rules: Path, files: dict[str, str]) -> None:
    expected = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            [sys.executable, "-c", DIGEST, str(rules)], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected


def test_a_site_is_written_anew_without_touching_what_is_not_its_own(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "notes.html").write_text("mine", encoding="utf-8")
    write_site({**files, "criteria/GONE-01.html": "gone", LISTING: "criteria/GONE-01.html\n"}, tmp_path)
    outside = tmp_path.parent / f"{tmp_path.name}-outside.txt"
    outside.write_text("mine", encoding="utf-8")
    with (tmp_path / LISTING).open("a", encoding="utf-8") as listing:
        listing.write(f"../{outside.name}\n")
    write_site(files, tmp_path)
    assert not (tmp_path / "criteria/GONE-01.html").exists()
    assert outside.read_text(encoding="utf-8") == (tmp_path / "notes.html").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == files["index.html"]


def test_the_command_writes_the_site_and_a_check_does_not(rules: Path, tmp_path: Path) -> None:
    words = [
        "rules",
        "docs",
        "--rules",
        str(rules),
        "--output",
        str(tmp_path / "docs"),
        "--site",
        str(tmp_path / "site"),
    ]
    checked = CliRunner().invoke(root, [*words, "--check"])
    assert checked.exit_code == 1
    assert not (tmp_path / "site").exists()
    written = CliRunner().invoke(root, words)
    assert written.exit_code == 0, written.output
    assert (tmp_path / "site" / "criteria" / "ABR-CI-01.html").is_file()
    assert (tmp_path / "docs" / "criteria.md").is_file()
    assert "site/index.html" in written.output
    assert CliRunner().invoke(root, [*words, "--check"]).exit_code == 0


def test_a_local_pack_beside_the_rules_is_shown_without_the_way_to_it(rules: Path, tmp_path: Path) -> None:
    local = tmp_path / "clinic"
    shutil.copytree(rules / "ward", local)
    (local / "pack.yaml").write_text(
        (local / "pack.yaml").read_text(encoding="utf-8").replace("id: ward", "id: clinic"), encoding="utf-8"
    )
    shutil.copytree(rules, tmp_path / "rules", ignore=shutil.ignore_patterns("ward"))
    made = build_site(tmp_path / "rules", [local])
    assert "clinic/parameters.yaml:1" in made["parameters.html"]
    assert not [path for path, text in made.items() if str(tmp_path) in text]


def test_rules_that_cannot_be_compiled_make_no_site(rules: Path, tmp_path: Path) -> None:
    copy = tmp_path / "rules"
    shutil.copytree(rules, copy)
    path = copy / "abroad/spray/rules.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("score >= $abroad_score", "mood >= 3"), encoding="utf-8")
    with pytest.raises(RulePackError, match="mood"):
        build_site(copy)
