"""A decision log full of made-up patients, to replay it.

    python -m benchmarks.corpus FOLDER [--decisions 20000] [--seed 1]
    cd FOLDER && eligibility log replay 0..END --parallel 2

Every decision goes the way of a served one, from request bytes through both engines and the recorder into the log;
only the wire is left out. FOLDER gets the `eligibility-data` that the commands look for.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import click

from engine.errors import EngineError
from engine.evaluator.agree import Evaluator
from engine.ledger.body import BlobKind, PackSetActivated
from engine.ledger.entry import entry_uuid
from engine.ledger.log import Blob, Digests
from engine.pack.load import load_rules
from server.build import engine_manifest
from server.config import LogSettings
from server.contract import file_descriptor_set
from server.convert.asking import write_history
from server.evaluation import Asked, Call, Circumstances, decide, read_asked
from server.faults import Fault
from server.opening import open_ledger
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.recording import LogRecorder, Situation
from server.rules_in_force import LoadedRules, rules_digest
from tests.property.patients import Patients

if TYPE_CHECKING:
    from tests.property.patients import Patient

RULES = Path(__file__).parents[1] / "rules"
METHOD = "/eligibility.v1.EligibilityService/Evaluate"
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
WAITERS = 8
MAX_TRIALS = 100
UNKNOWN_DAY_SHARE = 10
"""One request in so many leaves its day to the server."""


def request_of(patient: Patient, number: int) -> bytes:
    """Write a patient as a request."""
    message = service_pb2.EvaluateRequest(
        request_id=f"request-{number}",
        patient_reference=f"patient-{number // 3}",
        jurisdiction=service_pb2.JURISDICTION_US,
        payer_id=patient.payer or "",
        as_of="" if number % UNKNOWN_DAY_SHARE == 0 else patient.as_of.isoformat(),
        purpose=service_pb2.PURPOSE_TEST,
        view=number % 3,  # type: ignore[arg-type]
    )
    message.patient_history.CopyFrom(write_history(patient.facts))
    return message.SerializeToString()


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--decisions", default=20_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(*, folder: Path, decisions: int, seed: int) -> None:
    """Fill a new log and say how large it is."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    book = load_rules(RULES, is_locked=False)
    rules = LoadedRules(book, Evaluator(book, "both", sessions=2), rules_digest(book))
    log = open_ledger(LogSettings())
    build = Blob(BlobKind.ENGINE_MANIFEST, engine_manifest(), "engine")
    schema = Blob(BlobKind.SCHEMA, file_descriptor_set(), "contract")
    blobs = rules.blobs
    log.register([build, schema])
    log.register(blobs.all(), PackSetActivated(blobs.pack_set.label, book.dictionary.version, "2025-01-01"))
    stood_on = Digests(blobs.pack_set.digest, build.digest, schema.digest, blobs.reference.digest)
    recorder = LogRecorder(log, lambda _: stood_on, time.monotonic)
    patients, random = Patients(book), Random(seed)  # noqa: S311 - patients, not secrets
    call = Call(METHOD, "corpus", frozenset({"evaluator"}), "in process", 0)

    def log_one(number: int, data: bytes) -> None:
        moment = BEGIN + timedelta(minutes=17 * number)
        circumstances = Circumstances(entry_uuid(log.entry_id()), moment, "America/New_York")
        situation = Situation(circumstances, call, rules)
        asked: Asked | None = None
        try:
            asked = read_asked(data, book, circumstances, MAX_TRIALS)
            answer = decide(asked, rules, circumstances, lambda: None)
        except (EngineError, Fault) as error:
            recorder.record_refusal(error, data, asked, situation)
            return
        recorder.record(answer, situation)

    with ThreadPoolExecutor(WAITERS) as pool, click.progressbar(length=decisions, label="logging") as bar:
        for first in range(0, decisions, 100):
            drawn = range(first, min(decisions, first + 100))
            payers = {number: random.choice(patients.payers) for number in drawn}
            data = {n: request_of(patients.draw(random, payer=payer), n) for n, payer in payers.items()}
            list(pool.map(log_one, data.keys(), data.values()))
            bar.update(len(drawn))
    with log.reading() as snapshot:
        click.echo(f"{snapshot.head().size} entries in {folder}/eligibility-data")
    log.close()
    rules.engines.close()


if __name__ == "__main__":
    main()
