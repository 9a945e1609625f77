"""CDS Hooks 2.0: what binds a service, by the numbers of its list of requirements; docs/cds-hooks.md has the table."""

from __future__ import annotations

import copy
import json
import re
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import httpx
import pytest
from markdown_it import MarkdownIt

from tests.contract.cds_checks import INDICATORS, check_action, check_answer, check_card
from tests.contract.cds_world import PUBLIC, Candidate, Desk, Issue, Reading, World, draft, order, serving, view
from tests.unit.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOOKS = {"patient-view": "view", "order-select": "select", "order-sign": "sign"}
EXAMPLES = ["01", "02", "03", "04", "05", "06", "08", "09", "10"]
TOKEN = re.compile(r"\{\{(.*?)\}\}")
FULL = Reading({}, (Candidate("dx_primary", "mdd_single"),), (Issue("fhir/history-incomplete"),))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve for all tests of this file."""
    client = {"emergency_url": "https://site.example.org/emergency"}
    with serving(tmp_path_factory.mktemp("conformance"), desk=Desk(reading=FULL), cds_quiet=0.0, client=client) as made:
        yield made


@pytest.fixture(scope="module")
def services(world: World) -> list[dict[str, Any]]:
    """Give what discovery lists."""
    found: list[dict[str, Any]] = world.http.get("/te/cds-services").json()["services"]
    return found


@pytest.fixture(scope="module")
def answers(world: World) -> list[httpx.Response]:
    """Ask every service about every kind of patient."""
    found = []
    for name in EXAMPLES:
        world.desk.name = name
        found.append(world.call("view", view()))
        found += [
            world.call(HOOKS[hook], order(draft(), draft("6130", id="d-2"), hook=hook))
            for hook in ("order-select", "order-sign")
        ]
    world.desk.name = "01"
    return found


@pytest.fixture(scope="module")
def cards(answers: list[httpx.Response]) -> list[dict[str, Any]]:
    """Give all cards of all answers."""
    found = [card for answer in answers for card in answer.json()["cards"]]
    assert {card["indicator"] for card in found} == set(INDICATORS)
    assert any("suggestions" in card for card in found)
    return found


def test_all_is_json_both_ways_1(world: World, answers: list[httpx.Response]) -> None:
    refused = world.post("/cds-services/treatment-eligibility-view", b"<x/>", **{"content-type": "application/xml"})

    assert refused.status_code == 415
    for answer in [*answers, world.http.get("/te/cds-services"), refused]:
        assert answer.headers["content-type"] == "application/json"
        assert isinstance(answer.json(), dict)


def test_all_goes_over_tls_2_168(tmp_path: Path) -> None:
    own = make_certificate(tmp_path, "server")
    trusted = ssl.create_default_context(cafile=str(own.certificate))
    with serving(
        tmp_path,
        scheme="https",
        verify=trusted,
        insecure=False,
        tls_cert=own.certificate,
        tls_key=own.key,
    ) as made:
        assert made.http.get("/te/cds-services").status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{made.face.port}/te/cds-services")


def test_nothing_is_null_or_empty_3(services: list[dict[str, Any]], answers: list[httpx.Response]) -> None:
    def look(value: object) -> None:
        assert value is not None
        assert value not in ("", [], {})
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(item)

    look(services)
    look([card for answer in answers for card in answer.json()["cards"]])


def test_discovery_is_there_and_lists_services_4_5_6_13(world: World) -> None:
    answer = world.http.get("/te/cds-services")

    assert answer.status_code == 200
    assert isinstance(answer.json()["services"], list)


def test_each_service_is_described_7_8_9_10(services: list[dict[str, Any]]) -> None:
    assert {service["hook"] for service in services} == set(HOOKS)
    for service in services:
        for name in ("hook", "id", "title", "description", "usageRequirements"):
            assert isinstance(service[name], str)
            assert service[name]


def test_a_service_is_called_at_its_id_16(world: World, services: list[dict[str, Any]]) -> None:
    for service in services:
        body = view() if service["hook"] == "patient-view" else order(draft(), hook=service["hook"])
        assert world.post(f"/cds-services/{service['id']}", body).status_code == 200


def test_prefetch_templates_are_published_by_key_29_36(services: list[dict[str, Any]]) -> None:
    for service in services:
        assert isinstance(service["prefetch"], dict)
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in service["prefetch"].items())


def test_prefetch_tokens_name_fields_of_the_context_55_56_57_59(services: list[dict[str, Any]]) -> None:
    for service in services:
        tokens = {token for template in service["prefetch"].values() for token in TOKEN.findall(template)}
        assert tokens == {"context.patientId"}
        assert all("{" not in TOKEN.sub("", template) for template in service["prefetch"].values())


def test_prefetch_queries_are_simple_58(services: list[dict[str, Any]]) -> None:
    for template in (t for service in services for t in service["prefetch"].values()):
        path, _, query = template.partition("?")
        assert re.fullmatch(r"[A-Z][A-Za-z]+(/\{\{context\.[A-Za-z]+\}\})?", path)
        given = dict(parse_qsl(query, strict_parsing=bool(query)))
        assert set(given) <= {"patient", "code", "_sort", "_count"}
        assert bool(query) == ("patient" in given)


def test_a_call_answers_200_with_cards_74_75(answers: list[httpx.Response]) -> None:
    for answer in answers:
        assert answer.status_code == 200
        assert set(answer.json()) == {"cards"}
        check_answer(answer.json())


def test_no_guidance_is_an_empty_list_77(world: World) -> None:
    answer = world.call("sign", order(draft("197361", "Amlodipine")))

    assert (answer.status_code, answer.json()) == (200, {"cards": []})


def test_a_card_has_an_id_and_a_short_summary_80_83(cards: list[dict[str, Any]]) -> None:
    assert all(isinstance(card["uuid"], str) for card in cards)
    assert len({card["uuid"] for card in cards}) == len(cards)
    assert all(0 < len(card["summary"]) < 140 for card in cards)


def test_the_detail_is_markdown_85(cards: list[dict[str, Any]]) -> None:
    for card in cards:
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(card["detail"])
        kinds = {token.type for token in tokens}
        assert "table_open" in kinds
        assert "html_block" not in kinds
        assert "html_inline" not in {child.type for token in tokens for child in token.children or ()}


def test_the_indicator_can_be_sorted_by_87_88_89(answers: list[httpx.Response]) -> None:
    for answer in answers:
        places = [INDICATORS.index(card["indicator"]) for card in answer.json()["cards"]]
        assert places == sorted(places, reverse=True)


def test_the_source_is_named_90_105_107_115(cards: list[dict[str, Any]]) -> None:
    for source in (card["source"] for card in cards):
        assert source["label"] == "Treatment Eligibility"
        assert source["url"] == f"{PUBLIC}/about"
        assert set(source["topic"]) == {"system", "code", "display"}
        assert re.fullmatch(r"[A-Za-z0-9]{1,100}", source["topic"]["code"])


def test_the_source_carries_no_icon_and_no_drill_down_109_110_111_112(
    world: World, cards: list[dict[str, Any]]
) -> None:
    for card in cards:
        assert "icon" not in card["source"], "so none of another size or kind is sent"
        decision = card["uuid"][:-1]
        assert decision not in card["source"]["url"]
        assert any(decision in link["url"] for link in card["links"])
    assert world.http.get("/te/about").status_code == 200


def test_suggestions_are_whole_92_93_95_96_117_119_121_124_125(cards: list[dict[str, Any]]) -> None:
    suggesting = [card for card in cards if "suggestions" in card]
    for card in suggesting:
        assert card["selectionBehavior"] == "any"
        for suggestion in card["suggestions"]:
            assert isinstance(suggestion["label"], str)
            assert isinstance(suggestion["uuid"], str)
            assert "isRecommended" not in suggestion
            assert len(suggestion["actions"]) == 1, "so that all actions together is what is chosen"
    assert all("selectionBehavior" not in card for card in cards if card not in suggesting)


def test_actions_create_new_drafts_127_128_130_131_132_133_134_135(cards: list[dict[str, Any]]) -> None:
    actions = [action for card in cards for s in card.get("suggestions", ()) for action in s["actions"]]

    for action in actions:
        check_action(action)
        assert action["type"] == "create", "never update or delete"
        assert action["resource"]["resourceType"] == "ServiceRequest"
        assert "resourceId" not in action


def test_override_reasons_are_codings_with_words_98_100_136_216_217_218_219_220(cards: list[dict[str, Any]]) -> None:
    for card in cards:
        assert card["overrideReasons"]
        for reason in card["overrideReasons"]:
            assert all(isinstance(reason[name], str) and reason[name] for name in ("system", "code", "display"))


def test_links_are_absolute_103_138_139_141_142_144_146_147(cards: list[dict[str, Any]]) -> None:
    for link in (link for card in cards for link in card["links"]):
        assert set(link) == {"label", "url", "type"}, "no appContext on an absolute link"
        assert link["type"] == "absolute"
        assert link["url"].startswith((PUBLIC, "https://site.example.org/emergency"))


def test_each_hook_has_a_service_of_its_own_78_211_212(services: list[dict[str, Any]]) -> None:
    """One id for several hooks would tell clients that a new answer replaces one of another hook."""
    assert len({service["id"] for service in services}) == len(services)


def test_needed_hooks_are_told_for_agreement_213(services: list[dict[str, Any]]) -> None:
    assert all("order-sign" in service["usageRequirements"] for service in services)


def test_extensions_are_objects_and_none_is_sent_214_215(world: World, answers: list[httpx.Response]) -> None:
    for given in ({"com.epic.x": {"a": 1}}, {}, "odd", 5):
        assert world.call("view", view(extension=given)).status_code == 200
    assert all('"extension"' not in answer.text for answer in answers)


def change(*path: str | int, to: object = None) -> Callable[[dict[str, Any]], None]:
    """Make a change at a place of a card; without a value, the place is left out."""

    def apply(card: Any) -> None:  # noqa: ANN401 - any JSON on the way
        for step in path[:-1]:
            card = card[step]
        if to is None:
            del card[path[-1]]
        else:
            card[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    "break_it",
    [
        change("summary"),
        change("summary", to="x" * 140),
        change("summary", to=""),
        change("indicator"),
        change("indicator", to="hard-stop"),
        change("source"),
        change("source", "label"),
        change("source", "url", to="about"),
        change("source", "topic", "system"),
        change("uuid", to=5),
        change("selectionBehavior"),
        change("selectionBehavior", to="all"),
        change("suggestions", to={}),
        change("suggestions", 0, "label"),
        change("suggestions", 0, "actions", to={}),
        change("suggestions", 0, "actions", 0, "type", to="remove"),
        change("suggestions", 0, "actions", 0, "description"),
        change("suggestions", 0, "actions", 0, "resource", "id", to="x"),
        change("suggestions", 0, "actions", 0, "type", to="delete"),
        change("overrideReasons", 0, "display"),
        change("overrideReasons", 0, "code"),
        change("links", to=[]),
        change("links", 0, "type", to="relative"),
        change("links", 0, "url", to="/decisions/1"),
        change("links", 0, "appContext", to="x"),
    ],
)
def test_the_checks_find_what_is_wrong(cards: list[dict[str, Any]], break_it: Callable[[dict[str, Any]], None]) -> None:
    card = copy.deepcopy(next(card for card in cards if "suggestions" in card))
    check_card(card)
    break_it(card)

    with pytest.raises((AssertionError, KeyError)):
        check_answer({"cards": [card]})


def test_an_answer_is_plain_text_for_a_client_that_shows_html(answers: list[httpx.Response]) -> None:
    for answer in answers:
        assert "<" not in json.dumps([card["detail"] for card in answer.json()["cards"]])
