"""Asks a running server what the patients of case files may be offered, and prints the answers.

    python examples/python/evaluate.py examples/patients/01-clear-yes.json
    python examples/python/evaluate.py CASE.json --address cds.example.org:443 --ca ca.pem --token-file token

With --receipt FILE it keeps the proof that the decision was logged: `eligibility log verify --receipt FILE` checks it.

It knows no more of the contract than its names: the messages come from the server by reflection. Needs grpcio and
grpcio-reflection. Exit code 0 when every patient was answered, 1 when one was not, 2 for wrong usage.
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

SERVICE = "eligibility.v1.EligibilityService"
TIMEOUT_SECONDS = 30
RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.5s",
    "backoffMultiplier": 2,
    "maxBackoff": "4s",
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""gRPC sends the same bytes again, so the same request_id: an answer that was logged and then lost comes again."""


def read_file(path: str) -> bytes:
    """Read a file that an option names."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from None


def read_cases(path: str) -> list[dict[str, Any]]:
    """Read a case file: one object, a list of objects, or one object on each line."""
    text = read_file(path).decode("utf-8-sig")
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


def write_request(case: dict[str, Any], request: Any, purpose: str = "test") -> None:  # noqa: ANN401 - a message
    """Write a case into an EvaluateRequest. Each fact goes to the area that has a field of its name.

    Whoever has a patient's data erased names the patient by the `patient_reference` of the calls.
    """
    request.request_id = str(uuid.uuid4())
    request.patient_reference = case.get("patient_reference") or str(case.get("id", ""))
    fill(request, "jurisdiction", case["jurisdiction"])
    request.as_of = case["as_of"]
    request.payer_id = case.get("payer_id") or ""
    fill(request, "purpose", purpose)
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


def keep_receipt(receipt: Any, path: Path) -> None:  # noqa: ANN401 - a message
    """Write the proof that the decision is in the log, as `eligibility log verify --receipt` reads it."""
    if not receipt.proof:
        sys.exit(f"there is no proof yet for entry {receipt.index}; GetInclusionProof gives it later")
    path.write_bytes(receipt.proof)
    print(f"  receipt: entry {receipt.index} of {receipt.origin}, in {path}")


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="What may the patients of these case files be offered?")
    parser.add_argument("files", nargs="+", type=read_cases, metavar="FILE")
    parser.add_argument("--address", default="127.0.0.1:50051", help="where the server is")
    parser.add_argument("--ca", type=read_file, help="authorities of its certificate, PEM; without it there is no TLS")
    parser.add_argument("--cert", type=read_file, help="certificate to show to it, PEM")
    parser.add_argument("--key", type=read_file, help="private key of that certificate, PEM")
    parser.add_argument("--token-file", type=read_file, help="file with a bearer token")
    parser.add_argument("--purpose", choices=("care", "what_if", "test"), default="test", help="what is logged as such")
    parser.add_argument("--receipt", type=Path, metavar="FILE", help="where to keep the receipt of one decision")
    arguments = parser.parse_args()
    arguments.cases = [case for cases in arguments.files for case in cases]
    if arguments.ca is None and (arguments.cert or arguments.key or arguments.token_file):
        parser.error("a certificate or a token is sent over TLS only: give --ca")
    if (arguments.cert is None) != (arguments.key is None):
        parser.error("--cert and --key go together")
    if arguments.receipt and len(arguments.cases) != 1:
        parser.error("--receipt keeps the receipt of one decision: give one patient")
    return arguments


def open_channel(arguments: argparse.Namespace) -> grpc.Channel:
    """Open a channel. Without TLS it is for loopback only."""
    config = {"methodConfig": [{"name": [{}], "retryPolicy": RETRIES}]}
    options = [("grpc.service_config", json.dumps(config))]
    if arguments.ca is None:
        return grpc.insecure_channel(arguments.address, options)
    credentials = grpc.ssl_channel_credentials(arguments.ca, arguments.key, arguments.cert)
    if arguments.token_file is not None:
        token = grpc.access_token_call_credentials(arguments.token_file.decode().strip())
        credentials = grpc.composite_channel_credentials(credentials, token)
    return grpc.secure_channel(arguments.address, credentials, options)


def find_method(channel: grpc.Channel, address: str) -> Any:  # noqa: ANN401 - a descriptor
    """Learn Evaluate and its messages from the server."""
    try:
        service = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindServiceByName(SERVICE)
    except grpc.RpcError as error:
        is_away = error.code() is grpc.StatusCode.UNAVAILABLE
        hint = "; is a server running there, and does it want --ca, or --cert and --key?" if is_away else ""
        sys.exit(f"{address}: {error.code().name}: {error.details()}{hint}")
    return service.methods_by_name["Evaluate"]


def main() -> int:
    """Ask for each patient; give the exit code."""
    arguments = read_arguments()
    refused = 0
    with open_channel(arguments) as channel:
        method = find_method(channel, arguments.address)
        evaluate = channel.unary_unary(
            f"/{SERVICE}/Evaluate",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        for case in arguments.cases:
            request = GetMessageClass(method.input_type)()
            write_request(case, request, arguments.purpose)
            try:
                response = evaluate(request, timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                refused += 1
                print(f"\n{case.get('id', '')}: {error.code().name}: {error.details()}", file=sys.stderr)
                continue
            show(case, response.decision)
            if arguments.receipt:
                keep_receipt(response.receipt, arguments.receipt)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
