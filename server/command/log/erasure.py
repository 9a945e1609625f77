"""`eligibility log shred` and `eligibility log hold`: erasing a patient's data, and keeping it from being erased."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.ledger import erasure
from engine.ledger.clock import MICROSECONDS
from server.command.log.asking import LOCAL, local_user
from server.command.log.place import Place, placed
from server.command.log.showing import as_json, format_option, say
from server.convert.ledger import write_caller
from server.evaluation import Call
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from engine.cli.output import JsonObject

    F = TypeVar("F", bound=Callable[..., object])


REQUESTED, ERASED = "requested", "erased"
_STATES = {log_pb2.ERASURE_STATE_REQUESTED: REQUESTED, log_pb2.ERASURE_STATE_ERASED: ERASED}


def _order_options(command: F) -> F:
    for option in (
        click.option(
            "--authority", required=True, metavar="REF", help="On whose order. Logged in the open: no patient data."
        ),
        click.option(
            "--reason",
            required=True,
            metavar="CODE",
            help="Why, as in gdpr-art-17. Logged in the open: no patient data.",
        ),
    ):
        command = option(command)
    return command


def _subject_option(*, is_required: bool) -> Callable[[F], F]:
    return click.option(
        "--subject-file",
        required=is_required,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with the patient's reference, as in the requests. Never on the command line, which others see.",
    )


@placed
@click.command(
    epilog="""Example: eligibility log shred --subject-file subject.txt --reason gdpr-art-17 --authority DPO-2026-7

Exit codes: 0 asked for, or erased; 1 refused, or nothing is logged of the patient; 2 wrong usage; 3 the log is not
what was logged."""
)
@_subject_option(is_required=False)
@_order_options
@click.option(
    "--before",
    type=click.DateTime(["%Y-%m-%d"]),
    help="In place of a patient: end the retention of all that is older (by the quarter), where no hold stands.",
)
@click.option(
    "--approves", type=click.IntRange(0), metavar="INDEX", help="Approve what another person asked for in this entry."
)
@format_option
def shred(  # noqa: PLR0913 - one parameter for each option
    *,
    place: Place,
    subject_file: Path | None,
    reason: str,
    authority: str,
    before: datetime | None,
    approves: int | None,
    form: str,
) -> None:
    """Destroy the keys of a patient's data, which makes it unreadable in the log, its copies and its exports.

    Two people have to want it: the first asks; the second gives the same again with --approves INDEX within a day.
    """
    if (subject_file is None) == (before is None):
        raise click.UsageError("give --subject-file or --before, one of them")
    if before is not None and before.date() > datetime.now(UTC).date():
        raise click.UsageError(f"--before: `{before.date()}` is in the future; retention ends for what is old")
    if subject_file is None:
        _retire(place, erasure.ErasureRequest(b"", reason, authority, _microseconds(before)), approves, form)
        return
    request = log_pb2.ShredPatientRequest(
        patient_reference=_subject(subject_file), reason_code=reason, authority=authority, approves=approves
    )
    with place.asking() as asking:
        answer = asking.ask("ShredPatient", request, log_pb2.ShredPatientResponse)
    if form == "json":
        say(as_json(answer) | {"state": _STATES[answer.state]})
    elif answer.state == log_pb2.ERASURE_STATE_ERASED:
        click.echo(f"erased: {answer.key_count} keys are destroyed, as entry {answer.index} says")
    else:
        click.echo(f"asked for in entry {answer.index}; a second person has to give --approves {answer.index}")


def _retire(place: Place, wanted: erasure.ErasureRequest, approves: int | None, form: str) -> None:
    """End retention in the log itself, which no server has to be asked for."""
    officer = write_caller(Call("eligibility log shred", local_user(), LOCAL, "local", 0), purpose=wanted.reason)
    with place.opened() as log:
        if approves is None:
            index = erasure.request(log, wanted, officer).index
            told: JsonObject = {"state": REQUESTED, "index": index}
            words = f"asked for in entry {index}; a second person has to give --approves {index}"
        else:
            done = erasure.approve(log, wanted, approves, officer)
            told = {"state": ERASED, "index": done.tombstone_index, "key_count": done.keys}
            words = f"erased: {done.keys} keys are destroyed, as entry {done.tombstone_index} says"
    if form == "json":
        say(told)
    else:
        click.echo(words)


def _microseconds(day: datetime | None) -> int:
    return int(day.replace(tzinfo=UTC).timestamp()) * MICROSECONDS if day else 0


@placed
@click.command(
    epilog="""Example: eligibility log hold --subject-file subject.txt --reason litigation --authority COURT-12

Exit codes: 0 the hold stands, or is lifted; 1 refused, or nothing is logged of the patient; 2 wrong usage; 3 the log is
not what was logged."""
)
@_subject_option(is_required=True)
@_order_options
@click.option("--release", is_flag=True, help="Lift the hold.")
@format_option
def hold(*, place: Place, subject_file: Path, reason: str, authority: str, release: bool, form: str) -> None:
    """Keep a patient's data from being erased, by request or by age, until the hold is lifted."""
    request = log_pb2.SetLegalHoldRequest(
        patient_reference=_subject(subject_file),
        reason_code=reason,
        authority=authority,
        state=log_pb2.LEGAL_HOLD_STATE_RELEASED if release else log_pb2.LEGAL_HOLD_STATE_HELD,
    )
    with place.asking() as asking:
        answer = asking.ask("SetLegalHold", request, log_pb2.SetLegalHoldResponse)
    if form == "json":
        say(answer)
    else:
        click.echo(f"the hold {'is lifted' if release else 'stands'}, as entry {answer.index} says")


def _subject(file: Path) -> str:
    """Read the reference: the file's only line. Raises: UsageError."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise click.UsageError(f"--subject-file: `{file}` is no text in UTF-8") from None
    if len(lines) != 1 or not lines[0].strip():
        raise click.UsageError(f"--subject-file: `{file}` must hold one line, the patient's reference")
    return lines[0]
