"""`eligibility log impact`: which logged decisions other rules would have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from engine.cli.invocation import FAULT, GOOD, overlay_option
from engine.cli.output import as_line
from engine.pack.digest import read_files
from engine.pack.load import FACTS_FILE, load_rules
from server.command.log.place import Place, placed
from server.command.log.showing import as_json, print_table, progress, written
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.cli.output import JsonObject

_BUCKETS = tuple(field.name for field in log_pb2.ImpactCounts.DESCRIPTOR.fields)
_DIFFERENT = ("changed", "not_evaluable", "error")


@placed
@click.command(
    epilog="""Example: eligibility log impact --pack rules-of-next-month --tree-size 10000
--format html --output impact.html

Exit codes: 0 nothing would change; 1 something would, or cannot be told, or the rules have faults; 2 wrong usage; 3 the
log is not what was logged."""
)
@click.option(
    "--pack",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the rules to try: a whole one, as the server's --rules.",
)
@click.option("--tree-size", type=click.IntRange(1), help="How many entries from the first on.  [default: all signed]")
@click.option("--format", "form", type=click.Choice(["text", "html", "json"]), default="text", show_default=True)
@click.option(
    "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write here, not to the terminal."
)
@overlay_option
@click.pass_context
def impact(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    place: Place,
    folder: Path,
    overlays: tuple[Path, ...],
    tree_size: int | None,
    form: str,
    output: Path | None,
) -> None:
    """Decide every logged request with other rules, on its own day, and count what would have changed.

    Every entry is counted once. A decision for which the other rules need what was not logged is never called
    unchanged. Small counts are merged with others, so that nobody is found in them.
    """
    if not (folder / FACTS_FILE).is_file():
        message = f"--pack: there is no {FACTS_FILE} in `{folder}`; give a whole folder of rules, not one pack"
        raise click.UsageError(message)
    request = log_pb2.AnalyzeImpactRequest(rule_files=_files(folder, overlays), tree_size=tree_size or 0)
    with place.asking() as asking, progress("trying the rules"):
        answer = asking.ask("AnalyzeImpact", request, log_pb2.AnalyzeImpactResponse)
    with written(output) as target:
        _write(answer, (folder, overlays), form, target)
    is_different = any(_count(counts, name) for counts in (answer.counts, answer.counts_anew) for name in _DIFFERENT)
    ctx.exit(FAULT if is_different else GOOD)


def _files(folder: Path, overlays: tuple[Path, ...]) -> dict[str, bytes]:
    """Give the files of the rules to try, those of local packs in folders of their own. Raises: RulePackError."""
    files = read_files(folder)
    if overlays:
        for pack in load_rules(folder, overlays, is_locked=False).local_packs:
            files |= {f"overlays/{pack.id}/{path}": data for path, data in pack.files.items()}
    return files


def _write(
    answer: log_pb2.AnalyzeImpactResponse, tried: tuple[Path, tuple[Path, ...]], form: str, target: TextIO
) -> None:
    found: JsonObject = json.loads(answer.report)
    if form == "json":
        target.write(f"{as_line(as_json(answer) | {'report': found})}\n")
    elif form == "html":
        from engine.page.impact import render_impact  # noqa: PLC0415 - only this form needs the page

        target.write(render_impact(found, _titles(*tried)))
    else:
        columns = ("entries", "over the logged facts", "over the requests, read anew")
        counts = ((_words(n), _count(answer.counts, n), _count(answer.counts_anew, n)) for n in _BUCKETS)
        print_table(columns, counts, target)
        if answer.counts.changed:
            rows = _turns(found)
            print_table(("what", "was", "would be", "decisions"), rows, target)
        target.write(f"{answer.tree_size} entries; the report is entry {answer.report_index}\n")


def _titles(folder: Path, overlays: tuple[Path, ...]) -> dict[str, str]:
    """Give the words for criteria and options of the rules that were tried."""
    titles: dict[str, str] = {}
    for pack in load_rules(folder, overlays, is_locked=False).packs.values():
        titles |= {criterion.id: criterion.title for criterion in pack.criteria.values()}
        titles |= {option.id: option.title for option in (pack.options.options if pack.options else ())}
    return titles


def _turns(found: JsonObject) -> Iterator[tuple[object, ...]]:
    run = found["stored"]
    assert isinstance(run, dict)  # noqa: S101 - the report always has this run
    for turns in run["turns"]:
        for turn in turns["shown"]:
            if turn["old"] != turn["new"]:
                yield turns["subject"], turn["old"], turn["new"], turn["count"]
        if turns["merged"]["count"]:
            yield turns["subject"], "small counts, merged", "", turns["merged"]["count"]


def _count(counts: log_pb2.ImpactCounts, name: str) -> int:
    value: int = getattr(counts, name)
    return value


def _words(name: str) -> str:
    return name.replace("_", " ")
