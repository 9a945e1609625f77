"""What a clinician waits for: patient-view with a prefetch of 255 resources.

    python -m benchmarks.cds [--callers 8] [--calls 600] [--rounds 3] [--pause 0]

The server has both engines and a decision log; every call brings a token of its own. Most charts that are opened have
no word of a depression: they are read and not decided. The others are, and almost everything about them is unknown,
which is what makes the search for what is missing long. Callers call again at once, or after a pause, as people do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.fhir import made
from benchmarks.wire import k6

RULES = Path(__file__).parents[1] / "rules"
LOAD = Path(__file__).with_name("cds.js")
RESOURCES = 255
ISSUER = "https://ehr.example.org/fhir"
PUBLIC = "http://127.0.0.1/te"
SERVICE = "/cds-services/treatment-eligibility-view"
FLAGS = (
    *("--insecure", "--listen", "127.0.0.1:0", "--cds-listen", "127.0.0.1:0"),
    *("--cds-url", PUBLIC, "--cds-quiet", "0"),
)


def start(stack: ExitStack, folder: Path, key: ec.EllipticCurvePrivateKey) -> str:
    """Start a server with one client; give the address of its face."""
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    (folder / "keys.json").write_text(json.dumps({"keys": [{**public, "kid": "1"}]}))
    client = {"name": "ehr", "issuer": ISSUER, "jwks": "keys.json", "jurisdiction": "US"}
    (folder / "clients.json").write_text(json.dumps({"clients": [client]}))
    command = [sys.executable, "-m", "server", "--rules", str(RULES), *FLAGS]
    command += ["--cds-clients", str(folder / "clients.json"), "--cds-deadline-ms", "20000"]
    environment = {**os.environ, "PYTHONPATH": str(RULES.parent)}
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: S603
    stack.callback(process.wait)
    stack.callback(process.terminate)
    assert process.stderr is not None  # noqa: S101 - it is piped
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "serving":
            threading.Thread(target=list, args=(process.stderr,), daemon=True).start()
            return f"http://127.0.0.1:{event['cds_port']}/te"
    sys.exit("the server did not start")


def body(*, is_depressed: bool) -> dict[str, Any]:
    """Make a call with a prefetch of a made-up patient."""
    record = json.loads(made(RESOURCES))
    patient = next(e["resource"] for e in record["entry"] if e["resource"]["resourceType"] == "Patient")
    if is_depressed:
        code = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F33.2"}]}
        subject = {"reference": f"Patient/{patient['id']}"}
        record["entry"][-1] = {"resource": {"resourceType": "Condition", "id": "c", "code": code, "subject": subject}}
    return {
        "hook": "patient-view",
        "hookInstance": "HOOK-INSTANCE",
        "context": {"userId": "Practitioner/1", "patientId": patient["id"]},
        "prefetch": {"patient": patient, "conditions": record},
    }


def tokens(key: ec.EllipticCurvePrivateKey, count: int) -> list[str]:
    """Sign as many tokens."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": PUBLIC + SERVICE, "iat": now, "exp": now + 900}
    return [
        jwt.encode({**claims, "jti": str(uuid4())}, key, algorithm="ES384", headers={"kid": "1"}) for _ in range(count)
    ]


@click.command()
@click.option("--callers", default=8, show_default=True)
@click.option("--calls", default=600, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--pause", default=0.0, show_default=True, help="Seconds between a caller's calls, give or take half.")
def main(*, callers: int, calls: int, rounds: int, pause: float) -> None:
    """Measure and print."""
    binary = k6()
    if binary is None:
        sys.exit("k6 is not installed; `make setup` installs it")
    key = ec.generate_private_key(ec.SECP384R1())
    found: dict[str, list[dict[str, float]]] = {"no word of a depression": [], "a depression": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cds")))
        address = start(stack, folder, key)
        for turn, kind in enumerate([*found] * rounds):
            (folder / "body.json").write_text(json.dumps(body(is_depressed=kind == "a depression")))
            (folder / "tokens.json").write_text(json.dumps(tokens(key, calls)))
            given = {"URL": address + SERVICE, "BODY": folder / "body.json", "TOKENS": folder / "tokens.json"}
            given |= {"CALLERS": callers, "CALLS": calls, "PAUSE": pause, "ROUND": turn}
            words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
            ran = subprocess.run([binary, "run", "--quiet", *words, str(LOAD)], capture_output=True, check=True)  # noqa: S603 - k6
            found[kind].append(json.loads(ran.stdout))
    for kind, results in found.items():
        click.echo(kind)
        for name in ("per_second", "p50_ms", "p95_ms", "p99_ms", "refused"):
            values = [one[name] for one in results]
            click.echo(f"  {name:<11} {statistics.median(values):8.1f}  ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
