"""The clinician's page over HTTP: one link, one session, forms that decide again, and an access for each opening."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from engine.errors import LogUnavailableError
from tests.contract.cds_world import PUBLIC, World, draft, order, serving, view

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

FORM = "application/x-www-form-urlencoded"
CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve for all tests of this file."""
    with serving(tmp_path_factory.mktemp("page"), cds_quiet=0.0) as made:
        yield made


@pytest.fixture(autouse=True)
def fresh(world: World) -> Iterator[None]:
    """Begin without a session, and with the patient whose decision lacks three facts."""
    world.http.cookies.clear()
    world.desk.name, world.desk.error = "03", None
    yield
    world.desk.error = None


def link(world: World) -> str:
    """Get a card and give the path of its link."""
    card = world.call("sign", order(draft())).json()["cards"][0]
    address: str = card["links"][0]["url"]
    assert address.startswith(f"{PUBLIC}/decisions/")
    return "/te" + address.removeprefix(PUBLIC)


def opened(world: World) -> tuple[str, httpx.Response]:
    """Open a link; give the path of the page and the page."""
    path = world.http.get(link(world)).headers["location"]
    return path, world.http.get(path)


def csrf(page: httpx.Response) -> str:
    """Give the token of a page's forms."""
    found = CSRF.search(page.text)
    assert found
    return found[1]


def test_a_link_opens_the_page_once(world: World) -> None:
    address = link(world)
    before = len(world.desk.opened)

    first = world.http.get(address)
    assert first.status_code == 303
    assert "t=" not in first.headers["location"], "the token is in no address that stays"
    assert len(world.desk.opened) == before, "nothing was shown yet"
    page = world.http.get(first.headers["location"])
    assert page.status_code == 200
    assert "Esketamine" in page.text
    decision_id, caller = world.desk.opened[-1]
    assert decision_id in address
    assert caller.name == "ehr Practitioner/1"

    assert world.http.get(address).status_code == 303, "whoever is in may click again"
    world.http.cookies.clear()
    again = world.http.get(address)
    assert again.status_code == 403
    assert "Esketamine" not in again.text


def test_each_opening_is_an_access(world: World) -> None:
    path, _ = opened(world)
    before = len(world.desk.opened)
    world.http.get(path)

    assert len(world.desk.opened) == before + 1


def test_a_look_at_a_link_does_not_use_it_up(world: World) -> None:
    address = link(world)

    assert world.http.head(address).status_code == 200
    assert world.http.get(address).status_code == 303


def test_the_session_is_kept_by_a_careful_cookie(world: World) -> None:
    cookie = world.http.get(link(world)).headers["set-cookie"].lower()

    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=1800" in cookie
    assert "path=/te/decisions" in cookie
    assert "secure" not in cookie, "http on loopback"


def test_the_page_is_kept_nowhere_and_runs_nothing(world: World) -> None:
    _, page = opened(world)

    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["", "/answers", "/feedback"])
def test_without_a_session_nothing_is_shown(world: World, path: str) -> None:
    address = link(world).partition("?")[0]
    before = len(world.desk.opened), len(world.desk.asked), len(world.desk.told)

    answer = world.http.request("GET" if not path else "POST", address + path, headers={"content-type": FORM})

    assert answer.status_code == 403
    assert (len(world.desk.opened), len(world.desk.asked), len(world.desk.told)) == before


def test_a_session_opens_no_other_decision(world: World) -> None:
    opened(world)
    other = link(world).partition("?")[0]

    assert world.http.get(other).status_code == 403


def test_a_guessed_token_opens_nothing(world: World) -> None:
    address = link(world).partition("?")[0]

    assert world.http.get(address, params={"t": "guessed"}).status_code == 403
    assert world.http.get("/te/decisions/../about", params={"t": "x"}).status_code in {200, 403, 404}


def test_an_answer_decides_again_as_a_what_if(world: World) -> None:
    path, page = opened(world)
    form = {"csrf": csrf(page), "fact.arteriovenous_malformation": "yes"}

    answer = world.http.post(f"{path}/answers", data=form)

    assert answer.status_code == 303
    asked = world.desk.asked[-1]
    assert asked["purpose"] == "what_if"
    assert asked["explicit"] == {"arteriovenous_malformation": "yes"}
    assert asked["content"] == world.desk.asked[-2]["content"]
    assert answer.headers["location"] != path
    assert "ontraindicat" in world.http.get(answer.headers["location"]).text
    assert world.http.get(path).status_code == 200, "the first decision is still there"


def test_the_same_answers_sent_twice_are_one_request(world: World) -> None:
    path, page = opened(world)
    form = {"csrf": csrf(page), "fact.arteriovenous_malformation": "no"}
    world.http.post(f"{path}/answers", data=form)
    world.http.post(f"{path}/answers", data=form)

    assert world.desk.asked[-1]["request_id"] == world.desk.asked[-2]["request_id"]


def test_an_answer_that_cannot_be_read_comes_back_with_what_was_typed(world: World) -> None:
    path, page = opened(world)
    before = len(world.desk.asked)
    form = {
        "csrf": csrf(page),
        "fact.arteriovenous_malformation": "perhaps",
        "fact.aneurysmal_vascular_disease": "false",
    }

    answer = world.http.post(f"{path}/answers", data=form)

    assert answer.status_code == 400
    assert "must be one of yes" in answer.text
    assert len(world.desk.asked) == before


def test_an_empty_form_decides_nothing(world: World) -> None:
    path, page = opened(world)
    before = len(world.desk.asked)

    assert world.http.post(f"{path}/answers", data={"csrf": csrf(page)}).status_code == 200
    assert len(world.desk.asked) == before


@pytest.mark.parametrize("token", ["", "guessed", None])
def test_a_form_from_elsewhere_does_nothing(world: World, token: str | None) -> None:
    path, _ = opened(world)
    before = len(world.desk.asked), len(world.desk.told)
    form = {"fact.arteriovenous_malformation": "yes", "outcome": "accepted"} | (
        {} if token is None else {"csrf": token}
    )

    for place in ("answers", "feedback"):
        assert world.http.post(f"{path}/{place}", data=form).status_code == 403
    assert (len(world.desk.asked), len(world.desk.told)) == before


def test_feedback_is_logged_and_said_back(world: World) -> None:
    path, page = opened(world)
    form = {"csrf": csrf(page), "outcome": "overridden", "reason": "patient-refuses", "comment": "MARK-WORDS"}

    answer = world.http.post(f"{path}/feedback", data=form)

    assert answer.headers["location"] == path
    told = list(world.desk.told.values())[-1]
    assert (told.card, told.outcome, told.reason, told.comment) == (
        path[-36:],
        "overridden",
        "patient-refuses",
        "MARK-WORDS",
    )
    assert "Recorded" in world.http.get(path).text
    assert "MARK" not in world.log.getvalue()


def test_feedback_without_a_reason_comes_back(world: World) -> None:
    path, page = opened(world)
    before = len(world.desk.told)

    answer = world.http.post(f"{path}/feedback", data={"csrf": csrf(page), "outcome": "overridden"})

    assert answer.status_code == 400
    assert len(world.desk.told) == before


def test_a_form_that_is_none_is_refused(world: World) -> None:
    path, _ = opened(world)

    assert world.http.post(f"{path}/answers", json={}).status_code == 415
    assert world.http.post(f"{path}/answers", content=b"a=%ff", headers={"content-type": FORM}).status_code == 400
    big = b"a=" + b"x" * 300_000
    assert world.http.post(f"{path}/answers", content=big, headers={"content-type": FORM}).status_code == 413


def test_what_cannot_be_logged_is_not_shown(world: World) -> None:
    path, page = opened(world)
    world.desk.error = LogUnavailableError("down")

    answer = world.http.post(f"{path}/answers", data={"csrf": csrf(page), "fact.arteriovenous_malformation": "yes"})

    assert answer.status_code == 503
    assert "Esketamine" not in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_a_hostile_name_is_only_text(world: World) -> None:
    path, page = opened(world)
    form = {"csrf": csrf(page), "fact.arteriovenous_malformation": "<script>alert(1)</script>"}

    answer = world.http.post(f"{path}/answers", data=form)

    assert "<script>" not in answer.text


def test_over_https_the_cookie_is_secure(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("secure")
    url = "https://cds.example.org"
    with serving(folder, cds_url=url) as made:
        token = made.site.token(f"{url}/cds-services/treatment-eligibility-view")
        headers = {"authorization": f"Bearer {token}"}
        card = made.http.post("/cds-services/treatment-eligibility-view", json=view(), headers=headers).json()["cards"][
            0
        ]
        answer = made.http.get(card["links"][0]["url"].removeprefix(url))

        assert "secure" in answer.headers["set-cookie"].lower()
        assert answer.headers["location"].startswith("/decisions/")
