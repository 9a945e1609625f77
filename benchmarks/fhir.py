"""What reading a FHIR record costs beside parsing its JSON, in turn, in one run.

    python -m benchmarks.fhir
    python -m benchmarks.fhir RECORD.json ...

Without files, the large records of the third-party archive beside the checkout (ELIGIBILITY_FHIR_DATA), and one that is
made here. A ratio is the median over rounds, each of which measures both; figures are for one thread.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tarfile
import time
import tracemalloc
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.fhir.read import read
from engine.fhir.record_json import parse
from engine.fhir.terminology import Terminology
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("ELIGIBILITY_FHIR_DATA", ROOT.parent / "shared" / "fhir"))
ARCHIVE = DATA / "third-party-fhir.tar.xz"
ROUNDS = 31
LARGE_BYTES = 900_000
AS_OF = date(2026, 1, 1)
RESOURCES = 1951
UCUM = "http://unitsofmeasure.org"


def made(count: int) -> bytes:
    """Make a record of `count` resources, about as mixed as a full one."""
    kinds = ("Procedure", "Encounter", "Observation", "Condition", "Observation", "Observation", "Immunization")
    codes = ("85354-9", "2339-0", "29463-7", "718-7", "4548-4", "8867-4", "44261-6", "72514-3", "9279-1")
    entries: list[object] = [{"resource": {"resourceType": "Patient", "id": "p", "birthDate": "1980-01-01"}}]
    for n in range(count - 1):
        when = f"{2000 + n // 100}-01-{1 + n % 28:02}T08:{n % 60:02}:00-05:00"
        kind, system, code = kinds[n % 7], "http://loinc.org", codes[n % 9]
        if kind != "Observation":
            system, code = "http://snomed.info/sct", "1"
        told: dict[str, object] = {
            "resourceType": kind,
            "id": f"o{n}",
            "status": "final",
            "subject": {"reference": "Patient/p", "display": "somebody who was made up"},
            "category": [{"coding": [{"system": "http://example.org/category", "code": "x", "display": "x"}]}],
            "code": {"coding": [{"system": system, "code": code, "display": "what was seen"}], "text": "what was seen"},
            "effectiveDateTime": when,
            "issued": when,
            "encounter": {"reference": f"Encounter/{n}"},
        }
        if code == "85354-9":
            told["component"] = [_part("8480-6", 121.3), _part("8462-4", 80.2)]
        else:
            told["valueQuantity"] = {"value": 80 + n % 7, "unit": "kg", "system": UCUM, "code": "kg"}
        entries.append({"fullUrl": f"urn:uuid:{n}", "resource": told, "request": {"method": "POST", "url": kind}})
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


def _part(code: str, value: float) -> dict[str, object]:
    return {
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": "a pressure"}]},
        "valueQuantity": {"value": value, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"},
    }


def records(arguments: list[str]) -> Iterator[tuple[str, bytes]]:
    """Give the records to measure, by name."""
    if arguments:
        yield from ((name, Path(name).read_bytes()) for name in arguments)
        return
    yield f"made, {RESOURCES} resources", made(RESOURCES)
    if ARCHIVE.is_file():
        with tarfile.open(ARCHIVE) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".json") else None
                content = file.read() if file and member.size > LARGE_BYTES else b""
                if content:
                    yield Path(member.name).name, content


def spent(call: Callable[[], object]) -> float:
    """Give the CPU time of a call, in milliseconds."""
    start = time.process_time_ns()
    call()
    return (time.process_time_ns() - start) / 1e6


def main() -> None:
    """Measure each record and print a line for it."""
    book = load_rules(ROOT / "rules", is_locked=False)
    terminology = Terminology.of(book.reference_files)
    columns = ("KiB", "resources", "json.loads", "parse", "read", "read/loads", "+MiB")
    print(f"{'record':48}" + "".join(f"{column:>12}" for column in columns))
    for name, content in records(sys.argv[1:]):
        value = parse(content)

        def reading(value: object = value) -> object:
            return read(value, terminology=terminology, definitions=book.facts, as_of=AS_OF)

        rounds = [
            (spent(partial(json.loads, content)), spent(partial(parse, content)), spent(reading)) for _ in range(ROUNDS)
        ]
        loads, parsed, walked = (statistics.median(each) for each in zip(*rounds, strict=True))
        ratio = statistics.median(walk / load for load, _, walk in rounds)
        tracemalloc.start()
        reading()
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        count = len(value["entry"]) if isinstance(value, dict) and isinstance(value.get("entry"), list) else 1
        figures = (f"{len(content) / 1024:.0f}", str(count), *(f"{x:.1f} ms" for x in (loads, parsed, walked)))
        print(f"{name[:48]:48}" + "".join(f"{each:>12}" for each in (*figures, f"{ratio:.2f}", f"{peak:.1f}")))


if __name__ == "__main__":
    main()
