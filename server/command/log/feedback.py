"""`eligibility log feedback`: what became of a decision or of one of its cards."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from server.command.log.place import Place, placed
from server.command.log.showing import format_option, say
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2


@placed
@click.command(
    epilog="""Example: eligibility log feedback 0b3c... --outcome overridden --reason-code patient-preference

Exit codes: 0 recorded; 1 refused, or the decision was erased; 2 wrong usage; 3 the log is not what was logged."""
)
@click.argument("card", metavar="ID")
@click.option("--outcome", type=click.Choice(["accepted", "overridden"]), required=True, help="What became of it.")
@click.option("--reason-code", default="", help="Code of the reason for an override.")
@click.option(
    "--reason-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the reason in the clinician's words, which is sealed as the patient's data is.",
)
@click.option("--time", "moment", type=click.DateTime(), help="When it happened (UTC).  [default: now]")
@format_option
def feedback(  # noqa: PLR0913 - one parameter for each option
    *,
    place: Place,
    card: str,
    outcome: str,
    reason_code: str,
    reason_file: Path | None,
    moment: datetime | None,
    form: str,
) -> None:
    """Record what became of a decision, by its decision_id or the id of one of its cards.

    The same card, outcome and time is the same feedback and is recorded once.
    """
    request = log_pb2.RecordFeedbackRequest(
        card_id=card,
        outcome=log_pb2.FeedbackOutcome.Value(f"FEEDBACK_OUTCOME_{outcome.upper()}"),
        override_reason_code=reason_code,
        override_reason_text=reason_file.read_text(encoding="utf-8").strip() if reason_file else "",
    )
    request.outcome_time.FromDatetime(moment.replace(tzinfo=UTC) if moment else datetime.now(UTC))
    with place.asking() as asking:
        answer = asking.ask("RecordFeedback", request, log_pb2.RecordFeedbackResponse)
    if form == "json":
        say(answer)
        return
    about = f"decision {answer.decision_index}" if answer.HasField("decision_index") else "a card of no known decision"
    click.echo(f"recorded in entry {answer.receipt.index}, about {about}")
