"""Who may call what: roles, the roles each method takes, and the caller of one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROLES = frozenset({"evaluator", "auditor", "replayer", "key_officer", "operator"})

_ELIGIBILITY = "/eligibility.v1.EligibilityService/"
_RULE_PACKS = "/eligibility.v1.RulePackService/"
_DECISION_LOG = "/eligibility.v1.DecisionLogService/"
_REFLECTION = "ServerReflection/ServerReflectionInfo"

ROLES_BY_METHOD: Mapping[str, frozenset[str]] = {
    _ELIGIBILITY + "Evaluate": frozenset({"evaluator"}),
    _ELIGIBILITY + "EvaluateStream": frozenset({"evaluator"}),
    _ELIGIBILITY + "EvaluateFhir": frozenset({"evaluator"}),
    _ELIGIBILITY + "DescribeInputs": ROLES,
    _RULE_PACKS + "ListRulePacks": ROLES,
    _RULE_PACKS + "GetRulePack": ROLES,
    _RULE_PACKS + "ListCriteria": ROLES,
    _RULE_PACKS + "GetCriterion": ROLES,
    _RULE_PACKS + "GetSourceAttributes": ROLES,
    _RULE_PACKS + "ReloadRulePacks": frozenset({"operator"}),
    _DECISION_LOG + "ListDecisions": frozenset({"auditor"}),
    _DECISION_LOG + "GetDecision": frozenset({"auditor"}),
    _DECISION_LOG + "GetCheckpoint": frozenset({"auditor", "evaluator"}),
    _DECISION_LOG + "GetInclusionProof": frozenset({"auditor", "evaluator"}),
    _DECISION_LOG + "GetConsistencyProof": frozenset({"auditor", "evaluator"}),
    _DECISION_LOG + "ReplayDecision": frozenset({"replayer"}),
    _DECISION_LOG + "ReplayDecisions": frozenset({"replayer"}),
    _DECISION_LOG + "AnalyzeImpact": frozenset({"replayer"}),
    _DECISION_LOG + "RecordFeedback": frozenset({"evaluator"}),
    _DECISION_LOG + "ShredPatient": frozenset({"key_officer"}),
    _DECISION_LOG + "SetLegalHold": frozenset({"key_officer"}),
    "/grpc.reflection.v1." + _REFLECTION: ROLES,
    "/grpc.reflection.v1alpha." + _REFLECTION: ROLES,
}
"""The roles of which a caller needs one. A method that is neither here nor in `OPEN_METHODS` is refused to all."""

OPEN_METHODS = frozenset(f"/grpc.health.v1.Health/{name}" for name in ("Check", "Watch"))
"""Methods that need no caller: an orchestrator asks them before it knows anybody."""

KNOWN_METHODS = frozenset(ROLES_BY_METHOD)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `proof` says how that was shown: `none` (loopback without TLS), `certificate` or `token`."""

    name: str
    roles: frozenset[str]
    proof: str


def may_call(caller: Caller, method: str) -> bool:
    """Say whether a caller has a role that the method takes."""
    return bool(caller.roles & ROLES_BY_METHOD.get(method, frozenset()))


def parse_certificate_roles(entries: Iterable[str]) -> dict[str, frozenset[str]]:
    """Read `NAME=ROLE,ROLE` entries; the last `=` separates, since a name may hold one.

    Raises:
        ValueError: an entry without name or role, a role that does not exist, a name given twice.

    """
    roles: dict[str, frozenset[str]] = {}
    for entry in entries:
        name, _, listed = entry.rpartition("=")
        given = frozenset(filter(None, listed.split(",")))
        if not name or not given:
            message = f"`{entry}` is not NAME=ROLE,ROLE"
        elif given - ROLES:
            message = f"`{min(given - ROLES)}` is no role; roles are {', '.join(sorted(ROLES))}"
        elif name in roles:
            message = f"`{name}` is given twice; list its roles in one entry"
        else:
            roles[name] = given
            continue
        raise ValueError(message)
    return roles
