"""`eligibility log shred` and `eligibility log hold`: erasing a patient's data, and keeping it from being erased."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.command.log.place import Place, placed
from server.command.log.showing import format_option, say
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    F = TypeVar("F", bound=Callable[..., object])


def _subject_options(command: F) -> F:
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
        click.option(
            "--subject-file",
            required=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="File with the patient's reference, as in the requests. Never on the command line, which others see.",
        ),
    ):
        command = option(command)
    return command


@placed
@click.command(
    epilog="""Example: eligibility log shred --subject-file subject.txt --reason gdpr-art-17 --authority DPO-2026-7

Exit codes: 0 asked for, or erased; 1 refused, or nothing is logged of the patient; 2 wrong usage; 3 the log is not
what was logged."""
)
@_subject_options
@click.option(
    "--approves", type=click.IntRange(0), metavar="INDEX", help="Approve what another person asked for in this entry."
)
@format_option
def shred(*, place: Place, subject_file: Path, reason: str, authority: str, approves: int | None, form: str) -> None:
    """Destroy the keys of a patient's data, which makes it unreadable in the log, its copies and its exports.

    Two people have to want it: the first asks; the second gives the same again with --approves INDEX within a day.
    """
    request = log_pb2.ShredPatientRequest(
        patient_reference=_subject(subject_file), reason_code=reason, authority=authority, approves=approves
    )
    with place.asking() as asking:
        answer = asking.ask("ShredPatient", request, log_pb2.ShredPatientResponse)
    if form == "json":
        say(answer)
    elif answer.state == log_pb2.ERASURE_STATE_ERASED:
        click.echo(f"erased: {answer.key_count} keys are destroyed, as entry {answer.index} says")
    else:
        click.echo(f"asked for in entry {answer.index}; a second person has to give --approves {answer.index}")


@placed
@click.command(
    epilog="""Example: eligibility log hold --subject-file subject.txt --reason litigation --authority COURT-12

Exit codes: 0 the hold stands, or is lifted; 1 refused, or nothing is logged of the patient; 2 wrong usage; 3 the log is
not what was logged."""
)
@_subject_options
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
    """Read the reference: the file's only line."""
    lines = file.read_text(encoding="utf-8").splitlines()
    if len(lines) != 1 or not lines[0].strip():
        raise click.UsageError(f"--subject-file: `{file}` must hold one line, the patient's reference")
    return lines[0]
