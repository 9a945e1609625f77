"""Browser clients of the configured origins may call the services, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.cds_world import World, serving, view

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN = "http://127.0.0.1:9080"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve for all tests of this file."""
    with serving(tmp_path_factory.mktemp("browsers"), cds_quiet=0.0, cds_origins=(ORIGIN,)) as made:
        yield made


def test_browsers_of_configured_origins_may_call_the_services(world: World) -> None:
    """SHALL 208."""
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization,content-type"
    path = "/te/cds-services/treatment-eligibility-view"

    allowed = world.http.options(path, headers=asked)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert {"authorization", "content-type"} <= set(
        allowed.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    )
    assert "access-control-allow-credentials" not in allowed.headers
    assert world.call("view", view(), origin=ORIGIN).headers["access-control-allow-origin"] == ORIGIN
    assert (
        world.http.get("/te/cds-services", headers={"origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
    )
    refused = world.call("view", view(), token="x", origin=ORIGIN)  # noqa: S106 - no token at all
    assert refused.headers["access-control-allow-origin"] == ORIGIN, "a browser may read why"


def test_browsers_of_other_origins_may_not(world: World) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    path = "/te/cds-services/treatment-eligibility-view"

    assert "access-control-allow-origin" not in world.http.options(path, headers=asked).headers
    assert "access-control-allow-origin" not in world.call("view", view(), origin="https://evil.example").headers
    ours = world.http.get("/te/about", headers={"origin": ORIGIN})
    assert "access-control-allow-origin" not in ours.headers
