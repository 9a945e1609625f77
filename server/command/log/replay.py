"""`eligibility log replay`: logged decisions made again with the rules of their day, and compared."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from engine.cli.invocation import FAULT, GOOD, INTEGRITY, complain, worst
from server.command.log.place import Place, placed
from server.command.log.showing import LAST_INDEX, format_option, print_table, progress, say
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.command.log.asking import AskingAll

CHUNK = 10_000
"""Entries of one call, as many as a server takes."""

_CODES = {
    log_pb2.REPLAY_OUTCOME_MATCH: GOOD,
    log_pb2.REPLAY_OUTCOME_SHREDDED: GOOD,
    log_pb2.REPLAY_OUTCOME_NOT_A_DECISION: GOOD,
    log_pb2.REPLAY_OUTCOME_UNDECRYPTABLE: INTEGRITY,
    log_pb2.REPLAY_OUTCOME_BAD_COMMITMENT: INTEGRITY,
}
"""Exit codes by outcome; of all others it is that of a fault."""


def _read_range(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, int]:
    """Read a range as its first index and the one behind its last, 0 for the end of the log. Raises: UsageError."""
    first, dots, last = value.partition("..")
    words = (first, last if dots else first)
    if first.isascii() and first.isdecimal() and (dots, last) == ("..", "") and int(first) < LAST_INDEX:
        return int(first), 0
    if all(word.isascii() and word.isdecimal() for word in words):
        begin, end = int(words[0]), int(words[1]) + 1
        if begin < end <= LAST_INDEX:
            return begin, end
    raise click.BadParameter(f"`{value}` is no range; write A..B, both included, A.. to the end of the log, or A alone")


@placed
@click.command(
    epilog="""Example: eligibility log replay 0..999

Exit codes: 0 all match, or were erased, or are no decisions; 1 a difference, or something that was not run; 2 wrong
usage; 3 something is not what was logged."""
)
@click.argument("entries", metavar="[A..B]", default="0..", callback=_read_range)
@click.option("--all", "is_full", is_flag=True, help="List every entry, also those that match.")
@click.option(
    "--parallel", type=click.IntRange(0, 64), default=0, show_default=True, help="Processes that replay; 0: this one."
)
@format_option
@click.pass_context
def replay(
    ctx: click.Context, *, place: Place, entries: tuple[int, int], is_full: bool, parallel: int, form: str
) -> None:
    """Decide logged requests again with the rules that the log holds, on their day, and compare byte for byte.

    Without a range, all of them.

    Nothing that was not run is called a match. What other rules would decide is `eligibility log impact`.
    """
    counts: Counter[str] = Counter()
    rows: list[tuple[object, ...]] = []
    code = GOOD
    first, end = entries
    with place.asking(parallel=parallel) as asking, progress("replaying") as told:
        for done, result in enumerate(_results(asking, first, end), 1):
            outcome = log_pb2.ReplayOutcome.Name(result.outcome).removeprefix("REPLAY_OUTCOME_")
            counts[outcome] += 1
            code = worst(code, _CODES.get(result.outcome, FAULT))
            if form == "json":
                say(result)
            elif is_full or result.outcome not in _CODES or _CODES[result.outcome] != GOOD:
                rows.append((result.index, outcome, _stage(result), _about(result)))
            told(done, max(done, end - first))
    if form == "json":
        say({"entries": counts.total(), "outcomes": dict(sorted(counts.items()))})
    else:
        if rows:
            print_table(("index", "outcome", "stage", "about"), rows)
        click.echo(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    if code == INTEGRITY:
        complain("something is not what was logged; run `eligibility log verify`")
    ctx.exit(code)


def _results(asking: AskingAll, first: int, end: int) -> Iterator[log_pb2.Replay]:
    """Ask for range after range; one to the end of the log ends with the first that is not full."""
    begin, count = first, CHUNK
    while begin < end or (not end and count == CHUNK):
        request = log_pb2.ReplayDecisionsRequest(first_index=begin, end_index=min(begin + CHUNK, end))
        count = 0
        answers = asking.ask_many("ReplayDecisions", request, log_pb2.ReplayDecisionsResponse)
        for count, answer in enumerate(answers, 1):  # noqa: B007 - the last count is looked at
            yield answer.replay
        begin += CHUNK


def _stage(result: log_pb2.Replay) -> str:
    name = log_pb2.ReplayStage.Name(result.stage).removeprefix("REPLAY_STAGE_").lower()
    return "" if name == "unspecified" else name


def _about(result: log_pb2.Replay) -> str:
    if result.outcome == log_pb2.REPLAY_OUTCOME_SHREDDED:
        return f"tombstone {result.tombstone_index}"
    return "; ".join(filter(None, (result.detail, ", ".join(result.differences))))
