"""Asks a running server what the patients of case files may be offered, and prints the answers.

    python examples/python/evaluate.py examples/patients/01-clear-yes.json --address 127.0.0.1:50051

It knows no more of the contract than its names: the messages come from the server by reflection. Needs grpcio and
grpcio-reflection. Exit code 0 when every patient was answered, 1 when one was not.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

METHOD = "/eligibility.v1.EligibilityService/Evaluate"
TIMEOUT_SECONDS = 30


def read_cases(path: Path) -> list[dict[str, Any]]:
    """Read a case file: one object, a list of objects, or one object on each line."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        cases = json.loads(text)
    except json.JSONDecodeError:
        cases = [json.loads(line) for line in text.splitlines() if line.strip()]
    return cases if isinstance(cases, list) else [cases]


def fill(message: Any, name: str, value: Any) -> None:  # noqa: ANN401 - any message, any JSON value
    """Set a field from its JSON value; a word becomes the enum value that the field's type has for it."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None:
        setattr(message, name, enum_number(field.enum_type, value))
    elif field.message_type is None:
        setattr(message, name, value)
    else:  # a list: present and empty says that there are none, absent that nobody knows
        items = getattr(message, name)
        items.SetInParent()
        kind = field.message_type.fields_by_name["items"]
        for item in value:
            if kind.enum_type is not None:
                items.items.append(enum_number(kind.enum_type, item))
            else:
                record = items.items.add()
                for inner, inner_value in item.items():
                    if inner_value is not None:
                        fill(record, inner, inner_value)


def enum_number(enum: Any, word: str) -> int:  # noqa: ANN401 - a descriptor
    """Give the number of an enum's value: `outpatient` is CARE_SETTING_OUTPATIENT."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return int(enum.values_by_name[prefix + word.upper()].number)


def write_request(case: dict[str, Any], request: Any) -> None:  # noqa: ANN401 - a message
    """Write a case into an EvaluateRequest. Each fact goes to the area that has a field of its name."""
    request.request_id = str(uuid.uuid4())
    fill(request, "jurisdiction", case["jurisdiction"])
    request.as_of = case["as_of"]
    request.payer_id = case.get("payer_id") or ""
    fill(request, "purpose", "test")
    history = request.patient_history
    areas = {
        field.name: area.name
        for area in history.DESCRIPTOR.fields
        if not area.is_repeated
        for field in area.message_type.fields
    }
    for name, value in case["facts"].items():
        if name not in areas:
            sys.exit(f"`{name}` is not a fact of the contract")
        observed = value if isinstance(value, dict) else {"value": value}
        if observed["value"] is None:
            continue
        fill(getattr(history, areas[name]), name, observed["value"])
        for key in ("date", "source"):
            if observed.get(key):
                setattr(history.fact_provenance[name], key, observed[key])


def words(message: Any, name: str) -> str:  # noqa: ANN401 - a message
    """Give an enum field's value in words."""
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return enum.values_by_number[getattr(message, name)].name.removeprefix(prefix).replace("_", " ").lower()


def show(case: dict[str, Any], decision: Any) -> None:  # noqa: ANN401 - a message
    """Print a decision: what cannot wait, the options in their order, what to ask."""
    print(f"\n{case.get('id', '')}  {case.get('title', '')}\n{decision.jurisdiction}, as of {decision.as_of}")
    standing = words(decision.triage, "provisional")
    print(f"  suicide risk: {words(decision.triage, 'level')}" + (f" ({standing})" if standing != "settled" else ""))
    for referral in decision.referrals:
        state, urgency = words(referral, "state"), words(referral, "urgency")
        if state == "required":
            print(f"  refer, {urgency}: {referral.kind.replace('_', ' ')}. {referral.because}")
        elif urgency == "emergency":
            print(f"  rule out now: {referral.kind.replace('_', ' ')}. {referral.because}")
    options = {option.option: option for option in decision.options}
    for place, name in enumerate(decision.option_order, 1):
        option = options[name]
        print(f"  {place}. {option.title}: {words(option, 'status').upper()}. {option.summary}")
        because = {finding.id: finding.because for finding in option.criteria}
        for criterion in option.why_not:
            print(f"       {because[criterion]} [{criterion}]")
    if decision.HasField("coverage"):
        print(f"  coverage by {decision.coverage.payer_id}: {words(decision.coverage, 'status')}")
    for question in decision.missing[:5]:
        print(f"  ask: {question.question}")
    if len(decision.missing) > 5:  # noqa: PLR2004 - as many as were printed
        print(f"  ... and {len(decision.missing) - 5} more questions")
    for unusable in decision.unusable:
        print(f"  not used: {unusable.fact}: {unusable.reason}")
    if decision.HasField("changes_on"):
        change = decision.changes_on
        print(f"  by time alone: {words(change, 'to')} for {options[change.option].title} from {change.date} on")
    print(f"  {decision.disclaimer}")


def main() -> int:
    """Ask for each patient; give the exit code."""
    parser = argparse.ArgumentParser(description="What may the patients of these case files be offered?")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--address", default="127.0.0.1:50051", help="where the server is (no TLS: a demonstration)")
    arguments = parser.parse_args()
    refused = 0
    with grpc.insecure_channel(arguments.address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName("eligibility.v1.EligibilityService").methods_by_name["Evaluate"]
        evaluate = channel.unary_unary(
            METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        for case in [case for path in arguments.files for case in read_cases(path)]:
            request = GetMessageClass(method.input_type)()
            write_request(case, request)
            try:
                show(case, evaluate(request, timeout=TIMEOUT_SECONDS).decision)
            except grpc.RpcError as error:
                refused += 1
                print(f"\n{case.get('id', '')}: {error.code().name}: {error.details()}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
