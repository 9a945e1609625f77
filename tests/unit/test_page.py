"""The page says everything that a decision says, safety first, and no text of a caller can become markup."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import fields, is_dataclass, replace
from datetime import date
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluator.agree import Evaluator
from engine.evaluator.decision import Decision, EngineReport, TriageAnswer
from engine.facts import read_facts
from engine.page.render import render_decisions
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "golden" / "page"
TEMPLATES = ROOT / "engine" / "page" / "templates"
VOID = {"meta", "path", "circle", "br"}
CHOSEN_FROM_A_LIST = {
    "status",
    "could_be",
    "to",
    "effect",
    "truth",
    "side",
    "authorization",
    "level",
    "urgency",
    "state",
}
CHOSEN_FROM_A_LIST |= {"mode"}
EMPTY = Decision(
    as_of="2025-06-02",
    jurisdiction="US",
    options=(),
    triage=TriageAnswer("none", provisional=False, criteria=()),
    referrals=(),
    coverage=None,
    missing=(),
    also_ask=(),
    unusable=(),
    changes_on=None,
    option_order=(),
    packs=(),
    engines=EngineReport("interpret", agree=True, version="1"),
    disclaimer="",
)
HOSTILE = (
    "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"' {{ 7*7 }} \u202egnp.exe\u2066\x00\ud800"
)


class Structure(HTMLParser):
    """Reads a page, refuses tags that do not close in order, and keeps what the tests ask for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag and its attributes."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag that closes itself, as in SVG."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Refuse a tag that closes another than the last one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the words, but not the style sheet."""
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def values(self, attribute: str) -> list[str]:
        """Give every value of an attribute."""
        return [value for _, name, value in self.attributes if name == attribute]

    @property
    def text(self) -> str:
        """The words as they are read, with single spaces."""
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def decisions() -> dict[str, Decision]:
    """Real decisions on the made-up patients beside the golden pages; digests stand still."""
    book = repository_rules()
    result = {}
    with closing(Evaluator(book, "interpret")) as evaluator:
        for file in sorted(CASES.glob("*.json")):
            case = json.loads(file.read_text())
            as_of = date.fromisoformat(case["as_of"])
            facts = read_facts(book.facts, book.dictionary.constraints, case["facts"], as_of)
            decision = evaluator.evaluate(facts, case["jurisdiction"], case["payer_id"], as_of).decision
            packs = tuple(replace(pack, digest="0123456789abcdef" * 4) for pack in decision.packs)
            result[case["id"]] = replace(decision, packs=packs)
    return result


@pytest.fixture(scope="module")
def emergency(decisions: Mapping[str, Decision]) -> Decision:
    """A suicide emergency with a payer, an unusable value, and an answer that time changes."""
    return decisions["emergency"]


@pytest.fixture(scope="module")
def sparse(decisions: Mapping[str, Decision]) -> Decision:
    """Little is recorded, and an emergency is not ruled out."""
    return decisions["sparse"]


@pytest.fixture(scope="module")
def dated(decisions: Mapping[str, Decision]) -> Decision:
    """No emergency, nothing missing; a rule's date changes the answer."""
    return decisions["dated"]


def texts(item: object) -> Iterator[tuple[str, str]]:
    """Give pairs of field name and text, for every text in a decision."""
    if is_dataclass(item):
        for field in fields(item):
            value = getattr(item, field.name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, str):
                    yield field.name, part
                else:
                    yield from texts(part)


def poisoned(item: Any, poison: Callable[[str], str]) -> Any:  # noqa: ANN401 - walks data of any shape
    """Poison every text that is not chosen from a closed list."""
    changes: dict[str, object] = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if field.name in CHOSEN_FROM_A_LIST:
            continue
        if isinstance(value, str):
            changes[field.name] = poison(value)
        elif isinstance(value, tuple):
            changes[field.name] = tuple(poison(v) if isinstance(v, str) else poisoned(v, poison) for v in value)
        elif is_dataclass(value):
            changes[field.name] = poisoned(value, poison)
    return replace(item, **changes)


def read(*items: tuple[str, Decision]) -> Structure:
    return Structure(render_decisions(items))


# What stands where


@pytest.mark.parametrize("name", ["emergency", "sparse"])
def test_the_whole_page_is_as_it_was(
    decisions: Mapping[str, Decision], name: str, check_golden: Callable[[str, str], None]
) -> None:
    check_golden(f"page/{name}.html", render_decisions([(name, decisions[name])]))


def test_an_emergency_and_its_referrals_stand_above_all_options(emergency: Decision) -> None:
    text = read(("A", emergency)).text

    marks = ["Safety first", "Suicide-risk triage: emergency", "crisis line", "medical review", "Options at a glance"]
    assert [text.index(mark) for mark in marks] == sorted(text.index(mark) for mark in marks)
    assert text.index("Options at a glance") < text.index("Other referrals") < text.index("addiction medicine")


def test_an_emergency_that_is_not_ruled_out_stands_above_all_options(sparse: Decision) -> None:
    text = read(("A", sparse)).text

    assert sparse.triage.level == "moderate"
    assert text.index("Suicide-risk triage: moderate, provisional") < text.index("To rule out now")
    assert text.index("To rule out now") < text.index("crisis line") < text.index("Options at a glance")
    assert text.index("Not known yet whether needed") < text.index("urology")


def test_a_required_emergency_counts_whatever_the_triage_level(dated: Decision, emergency: Decision) -> None:
    page = read(("A", replace(dated, referrals=emergency.referrals)))

    assert "Safety first" in page.text
    assert "safety" in page.values("class")


def test_without_an_emergency_nothing_alarms_and_a_low_level_proves_nothing(dated: Decision) -> None:
    text = read(("A", dated)).text

    assert "Safety first" not in text
    assert "Suicide-risk triage: none" in text
    assert "does not show that the patient is safe" in text


def test_what_an_option_waits_for_has_a_heading_of_its_own(emergency: Decision) -> None:
    option = emergency.options[0]
    like = replace(option.criteria[0], side="cautioning", truth="met")
    weighed = replace(like, id="X-2", effect="cautions", title="WEIGHED")
    waits = replace(like, id="X-1", effect="defers", title="WAITS")
    text = read(("A", replace(emergency, options=(replace(option, criteria=(weighed, waits)),)))).text

    places = [text.index(words) for words in ("What it waits for", "WAITS", "Cautioning", "WEIGHED")]
    assert places == sorted(places)


def test_options_follow_the_order_of_the_decision(emergency: Decision) -> None:
    for order in (emergency.option_order, emergency.option_order[::-1]):
        text = read(("A", replace(emergency, option_order=order))).text
        titles = [next(o.title for o in emergency.options if o.option == option) for option in order]
        glance = text[text.index("Options at a glance") :]

        assert [glance.index(title) for title in titles] == sorted(glance.index(title) for title in titles)


def test_an_option_that_the_order_forgets_is_shown_all_the_same(emergency: Decision) -> None:
    text = read(("A", replace(emergency, option_order=()))).text

    assert all(option.title in text for option in emergency.options)


@pytest.mark.parametrize("name", ["emergency", "sparse", "dated"])
def test_everything_that_a_decision_says_is_on_the_page(decisions: Mapping[str, Decision], name: str) -> None:
    page = render_decisions([(name, decisions[name])])
    kept = {"title", "because", "value", "label", "text", "supports", "section", "source", "date", "contested", "note"}
    kept |= {"question", "reason", "summary", "disclaimer", "version", "as_of", "id"}

    assert not {
        (field, text)
        for field, text in texts(decisions[name])
        if field in kept and str(escape(text)).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") not in page
    }


def test_every_sign_of_doubt_is_a_word(decisions: Mapping[str, Decision]) -> None:
    findings = [c for d in decisions.values() for o in d.options for c in o.criteria]
    text = read(*decisions.items()).text

    assert any(f.visit_level for f in findings)
    assert "this visit only" in text
    assert any(f.contested for f in findings)
    assert "Contested:" in text
    assert any(f.confirmed == "unconfirmed" for f in findings)
    assert "unconfirmed: to be checked against the source before clinical use" in text
    assert "not recorded" in text


def test_a_missing_value_is_never_an_empty_cell(sparse: Decision) -> None:
    missing = sum(f.value is None for o in sparse.options for c in o.criteria for f in c.facts)
    missing += sum(f.value is None for c in sparse.triage.criteria for f in c.facts)

    assert missing
    assert read(("A", sparse)).text.count("not recorded") >= missing


def test_questions_keep_their_order_and_say_what_they_are_for(sparse: Decision) -> None:
    text = read(("A", sparse)).text
    asked = text[text.index("What to ask next") :]
    places = [asked.index(f"{question.question} For:") for question in sparse.missing]

    assert places == sorted(places)
    assert (
        "For: Esketamine nasal spray, Conventional care, Intravenous ketamine (off-label), suicide-risk triage."
        in asked
    )


def test_time_coverage_and_unusable_inputs_have_their_own_places(emergency: Decision, dated: Decision) -> None:
    text = read(("A", emergency)).text

    assert "Inputs that came but cannot be used" in text
    assert "facts.phq9_total" in text
    assert "Coverage by CAREFIRST Not covered" in text
    assert "Undated third-party copy, not the payer's present policy." in text
    assert "In force PAY-CF-02 undated" in text
    assert "never enters the clinical status" in text
    assert "On 2025-06-03 the same facts make Esketamine nasal spray Insufficient data , because of the age of:" in text
    assert "On 2025-01-21 the same facts make Esketamine nasal spray Eligible" in read(("A", dated)).text


def test_the_page_says_how_it_was_computed(dated: Decision) -> None:
    both = replace(dated.engines, mode="both", agree=True)

    assert "Computed by the reference interpreter alone" in read(("A", dated)).text
    assert "Computed by two engines, which agreed" in read(("A", replace(dated, engines=both))).text
    assert "which did not agree" in read(("A", replace(dated, engines=replace(both, agree=False)))).text


def test_the_case_id_is_all_it_says_about_who_the_patient_is(emergency: Decision) -> None:
    page = render_decisions([("A", emergency)])
    paths = {fact.path for option in emergency.options for c in option.criteria for fact in c.facts}

    assert paths - {"", *(u.path for u in emergency.unusable)}
    assert not [path for path in paths - {"", *(u.path for u in emergency.unusable)} if path in page]


def test_no_decision_is_a_page_too() -> None:
    assert "No decision was given." in read().text


def test_many_cases_share_a_page(decisions: Mapping[str, Decision]) -> None:
    page = read(*decisions.items(), *decisions.items())

    assert page.tags.count("article") == 2 * len(decisions)
    assert page.tags.count("nav") == 1


# What a browser and a screen reader get


def test_links_and_labels_lead_to_places_that_exist_once(decisions: Mapping[str, Decision]) -> None:
    page = read(*decisions.items(), *decisions.items())
    places = page.values("id")

    assert len(places) == len(set(places))
    assert {f"#{place}" for place in places} >= set(page.values("href"))
    assert set(places) >= set(page.values("aria-labelledby"))


def test_headings_never_skip_a_level(decisions: Mapping[str, Decision]) -> None:
    levels = [int(tag[1]) for tag in read(*decisions.items()).tags if re.fullmatch(r"h[1-6]", tag)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_every_table_names_its_columns_and_rows(decisions: Mapping[str, Decision]) -> None:
    page = read(*decisions.items())

    assert page.values("scope").count("col") + page.values("scope").count("row") == page.tags.count("th")


def test_nothing_is_loaded_and_nothing_runs(decisions: Mapping[str, Decision]) -> None:
    text = render_decisions(list(decisions.items()))
    page = Structure(text)

    assert "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'" in page.values(
        "content"
    )
    assert "en-US" in page.values("lang")
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in {"src", "style", "srcset"}]
    assert not re.search(r"url\(|@import|https?:", text)


def test_our_own_words_never_direct() -> None:
    words = " ".join(file.read_text() for file in TEMPLATES.glob("*.j2"))

    assert not re.search(r"\b(should|must|recommend|prescribe|give|start|avoid|stop)\b", words, flags=re.IGNORECASE)


# What a caller writes stays text


@pytest.mark.parametrize("name", ["emergency", "sparse", "dated"])
def test_hostile_text_in_every_field_changes_no_tag(decisions: Mapping[str, Decision], name: str) -> None:
    decision = decisions[name]
    plain = read(("A", poisoned(decision, lambda _: "harmless")))
    page = render_decisions([(HOSTILE, poisoned(decision, lambda _: HOSTILE))])
    hostile = Structure(page)

    assert hostile.tags == plain.tags
    assert [a[:2] for a in hostile.attributes] == [a[:2] for a in plain.attributes]
    assert "{{ 7*7 }}" in hostile.text
    assert "[U+202E]gnp.exe[U+2066][U+0000][U+D800]" in hostile.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00\ud800]", page)
    page.encode()


def test_ids_of_any_length_are_cut_with_their_length(dated: Decision) -> None:
    page = render_decisions([("x" * 10_000, dated)])

    assert "x" * 161 not in page
    assert "… (10000 characters)" in page


@given(name=st.text())
def test_no_case_id_becomes_markup(name: str) -> None:
    plain = read(("A", EMPTY))
    page = read((name, EMPTY))

    assert page.tags == plain.tags
    assert page.attributes == plain.attributes


# Colors


def palettes() -> Iterator[dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "page.css").read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        yield dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


def luminance(color: str) -> float:
    """Give the relative luminance. Source: WCAG 2.2, relative luminance."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_text_has_the_contrast_of_wcag_aa() -> None:
    for palette in palettes():
        tones = [name for name in palette if f"{name}-soft" in palette]
        pairs = [(tone, ground) for tone in tones for ground in (f"{tone}-soft", "page", "panel")]
        pairs += [(text, ground) for text in ("text", "quiet", "link") for ground in ("page", "panel")]

        assert len(tones) == 6
        assert not [pair for pair in pairs if contrast(palette[pair[0]], palette[pair[1]]) < 4.5]
