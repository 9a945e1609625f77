"""`server.config`: one clear error that names the flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.config import Settings, SettingsError, is_loopback, read_settings


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for name in ("cert", "key", "ca", "jwks"):
        (tmp_path / name).write_text("x")
    return {name: str(tmp_path / name) for name in ("cert", "key", "ca", "jwks")} | {"rules": str(tmp_path)}


def _read(files: dict[str, str], *arguments: str) -> Settings:
    settings = read_settings(["--rules", files["rules"], *(a.format(**files) for a in arguments)])
    assert settings is not None
    return settings


def test_defaults_are_those_of_the_settings(files: dict[str, str]) -> None:
    settings = _read(files, "--insecure")
    assert settings == Settings(rules=Path(files["rules"]), insecure=True, certificate_roles={})


def test_the_environment_speaks_where_no_flag_does(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELIGIBILITY_MAX_TRIALS", "7")
    monkeypatch.setenv("ELIGIBILITY_WORKERS", "9")
    settings = _read(files, "--insecure", "--workers", "2")
    assert (settings.max_trials, settings.workers) == (7, 2)


def test_callers_are_configured_for_tls(files: dict[str, str]) -> None:
    settings = _read(
        files,
        *("--tls-cert", "{cert}", "--tls-key", "{key}", "--client-ca", "{ca}"),
        *("--certificate-role", "CN=ehr,O=x=evaluator,auditor", "--certificate-role", "ops=operator"),
    )
    assert settings.certificate_roles == {
        "CN=ehr,O=x": frozenset({"evaluator", "auditor"}),
        "ops": frozenset({"operator"}),
    }


_TLS = ("--tls-cert", "{cert}", "--tls-key", "{key}")
_TOKENS = ("--jwks", "{jwks}", "--jwt-issuer", "i", "--jwt-audience", "a")


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ((), "--tls-cert"),
        (("--tls-cert", "{cert}"), "--tls-cert"),
        (("--insecure", "--listen", "0.0.0.0:1"), "--insecure"),
        (("--insecure", "--listen", "localhost"), "--listen"),
        (("--insecure", "--listen", "127.0.0.1:70000"), "--listen"),
        (("--insecure", *_TLS), "--insecure"),
        (_TLS, "--jwks"),
        ((*_TLS, "--client-ca", "{jwks}"), "--certificate-role"),
        ((*_TLS, *_TOKENS, "--client-ca", "{ca}", "--certificate-role", "ehr=auditor"), "--certificate-role"),
        ((*_TLS, "--jwks", "{jwks}"), "--jwt-issuer"),
        ((*_TLS, "--jwks", "http://keys.example.org", "--jwt-issuer", "i", "--jwt-audience", "a"), "--jwks"),
        ((*_TLS, "--jwks", "/nowhere", "--jwt-issuer", "i", "--jwt-audience", "a"), "--jwks"),
        (("--insecure", "--certificate-role", "ehr=guest"), "--certificate-role"),
        (("--insecure", "--certificate-role", "ehr"), "--certificate-role"),
        (("--insecure", "--certificate-role", "e=auditor", "--certificate-role", "e=operator"), "--certificate-role"),
        (("--insecure", "--time-zone", "Mars/Olympus"), "--time-zone"),
        (("--insecure", "--time-zone", "../../etc/passwd"), "--time-zone"),
        (("--insecure", "--metrics-listen", "nine"), "--metrics-listen"),
        (("--insecure", "--max-trials", "201"), "--max-trials"),
        (("--insecure", "--workers", "many"), "--workers"),
        (("--insecure", "--engines", "one"), "--engines"),
        (("--insecure", "--no-such-flag"), "--no-such-flag"),
        (("--rules", "/nowhere", "--insecure"), "--rules"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(files: dict[str, str], arguments: tuple[str, ...], flag: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _read(files, *arguments)
    message = str(caught.value)
    assert flag in message
    assert "\n" not in message
    assert not message.endswith(".")


def test_rules_are_required() -> None:
    with pytest.raises(SettingsError, match="--rules"):
        read_settings(["--insecure"])


def test_help_is_printed_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_settings(["--help"]) is None
    told = " ".join(capsys.readouterr().out.split())
    assert "Example: eligibility-server" in told
    assert "every caller on this machine has every role" in told
    assert "postgresql://ROLE@HOST/DB" in told


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False), ("example.org:1", False)],
)
def test_loopback_is_what_only_this_machine_reaches(address: str, *, expected: bool) -> None:
    assert is_loopback(address) is expected
