"""What is kept of a decision does not change by a byte unless somebody means it to."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine import canonical
from engine.evaluator.agree import NO_DIGEST, Evaluator
from engine.pack.load import load_rules
from server.evaluation import Circumstances, evaluate
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import patient_pb2
from server.rules_in_force import LoadedRules, rules_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.evaluator.agree import Mode
    from server.evaluation import Evaluated

RULES = Path(__file__).parents[2] / "rules"
CIRCUMSTANCES = Circumstances("0f8b1c52-3d6a-4e7f-9a10-5b2c3d4e5f60", datetime(2025, 6, 2, 8, 30, tzinfo=UTC), "UTC")


def request_bytes() -> bytes:
    message = service_pb2.EvaluateRequest(
        request_id="r-1", jurisdiction=service_pb2.JURISDICTION_US, as_of="2025-06-02", payer_id="CIGNA"
    )
    history = message.patient_history
    history.demographics.age_years = 44
    history.demographics.weight_kg = 72.5
    history.vascular_medical.sbp_mmHg = 186
    history.vascular_medical.dbp_mmHg = 112
    history.diagnosis.phq9_item9 = 2
    trial = history.treatment_history.trials.items.add(drug="sertraline", max_dose_mg=150, weeks_at_adequate_dose=10)
    trial.outcome = patient_pb2.TRIAL_OUTCOME_NONRESPONSE
    return message.SerializeToString()


def kept(mode: Mode) -> Evaluated:
    book = load_rules(RULES, is_locked=False)
    with closing(Evaluator(book, mode, sessions=1)) as engines:
        rules = LoadedRules(book, engines, rules_digest(book))
        return evaluate(request_bytes(), rules, CIRCUMSTANCES, 100, lambda: None).evaluated


def test_golden_bytes(check_golden: Callable[[str, str], None]) -> None:
    evaluated = kept("both")
    lines = [
        f"facts {evaluated.facts.decode()}",
        f"context {evaluated.context.hex()}",
        f"parameters {evaluated.parameters.decode()}",
        f"decision {evaluated.decision.decode()}",
        f"interpret_digest {evaluated.interpret_digest.hex()}",
        f"chain_digest {evaluated.chain_digest.hex()}",
        f"explanation {evaluated.explanation.decode()}",
    ]
    check_golden("evaluated.txt", "\n".join(lines) + "\n")


def test_what_came_and_what_goes_are_kept_as_they_are() -> None:
    evaluated = kept("interpret")

    assert evaluated.request_bytes == request_bytes()
    response = service_pb2.EvaluateResponse.FromString(evaluated.response_bytes)
    assert response.decision.decision_id == CIRCUMSTANCES.decision_id
    assert evaluated.chain_digest == NO_DIGEST != evaluated.interpret_digest


def test_the_fast_encoding_gives_the_bytes_of_the_strict_one() -> None:
    evaluated = kept("interpret")

    assert evaluated.decision == canonical.encode(evaluated.outcome.decision)
    assert evaluated.facts == canonical.encode(json.loads(evaluated.facts))
