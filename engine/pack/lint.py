"""What is wrong with packs whose files have the right shape: names without a meaning, stray keys, overdue reviews.

Conditions are the compiler's; cases are checked where they can be run, in `engine.evaluator.gaps`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from engine import trials
from engine.names import nearest
from engine.pack import model
from engine.pack.mentions import mentions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from engine.errors import Diagnostic
    from engine.pack.book import Located, Pack, RuleBook
    from engine.pack.source import Path

FOR_OPTIONS = frozenset(
    {
        "contraindicates", "excludes", "advises_against", "indicates", "requires", "defers", "cautions",
        "plans", "shows", "reports", "concludes", "covers", "denies", "asks_approval",
    }
)  # fmt: skip
"""Effects that do nothing without `options`."""

_EXTRA_KEYS: Mapping[str, tuple[str, ...]] = {
    "of": ("discounts",),
    "level": ("excludes", "triages", "discounts"),
    "gives": ("indicates", "discounts"),
    "plan": ("plans",),
    "as_": ("shows",),
    "at": ("reports",),
    "beside": ("reports",),
    "option": ("withholds",),
    "statuses": ("withholds",),
    "prior_approval_if": ("covers",),
    "before_status": ("covers", "denies"),
    "defined_by": ("defines",),
    "repeats": ("discounts",),
    "given": ("requires",),
    "needs": ("requires", "shows"),
}
_LEVELS = {"discounts": ("outside_episode", "never_counts")}
_GIVES = {"indicates": "deferred", "discounts": "unknown"}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_BRACE = re.compile(r"[{}].{0,20}", re.DOTALL)
_PARAMETER = re.compile(r"\$([a-z][a-z0-9_]*)")


@dataclass
class Findings:
    """Faults refuse a pack; warnings do not."""

    faults: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)


def lint(book: RuleBook, today: date) -> Findings:
    """Check every pack of a book that was read without fault.

    Args:
        book: the packs.
        today: the day on which reviews are due or not.

    """
    findings = Findings()
    known = _Known(book)
    for pack in book.packs.values():
        findings.faults += _review(pack, today)
        findings.faults += _pack(pack, known)
        findings.warnings += _stale_parameters(pack, today)
        (findings.faults if pack.header.tightens else findings.warnings).extend(_unused_parameters(pack, known))
    return findings


def lint_local(book: RuleBook) -> list[Diagnostic]:
    """Check the local packs of a book that was read without fault: no lock vouches for them.

    What only time makes wrong, such as a review that is due, does not keep them from being used.
    """
    local = [pack for pack in book.packs.values() if pack.header.tightens]
    if not local:
        return []
    known = _Known(book)
    return [fault for pack in local for fault in (*_pack(pack, known), *_unused_parameters(pack, known))]


class _Known:
    """Every name of a book."""

    def __init__(self, book: RuleBook) -> None:
        self.book = book
        packs = book.packs.values()
        self.criteria = {name: c for p in packs for name, c in p.criteria.items()}
        self.options = [o.id for p in packs if p.options for o in p.options.options]
        self.derived = {d.id for p in packs for d in p.derived}
        self.facts = set(book.facts)
        self.fields = {f.id: {g.id for g in f.fields} for f in book.facts.values() if f.type == "records"}
        self.parameters = {name for p in packs for name in p.parameters}
        self.said = self.facts | {d.id for p in packs for d in p.derived if not d.of}
        self.said |= {f"${name}" for name in self.parameters}
        self.numbers = {
            f"${name}": tuple(map(str, parameter.values.values()))
            for p in packs
            for name, parameter in p.parameters.items()
        }
        self.used = set(trials.PARAMETERS) | {name for p in packs for name in _used_parameters(p)}
        fields = {name for names in self.fields.values() for name in names}
        columns = {*trials.ENRICHED_TRUTHS, *trials.ENRICHED_NUMBERS, *trials.ENRICHED_TEXTS}
        tables = {"antidepressants", "augmentation_agents"}
        keys = set(model.Criterion.model_fields)
        self.definitions = self.facts | self.derived | self.parameters | fields | columns | tables | keys


def _used_parameters(pack: Pack) -> Iterator[str]:
    for path, content in pack.files.items():
        if path.endswith(".yaml"):
            yield from _PARAMETER.findall(content.decode(errors="replace"))


def _pack(pack: Pack, known: _Known) -> Iterator[Diagnostic]:
    yield from _header(pack, known)
    for name, criterion in pack.criteria.items():
        yield from _criterion(criterion, pack.located["criterion", name], pack, known)
    for derived in pack.derived:
        yield from _derived(derived, pack, known)
    for rule in pack.referrals:
        yield from _referral(rule, pack, known)
    if pack.options is not None:
        yield from _options(pack.options, pack.located["options", ""], known)
    if pack.triage is not None:
        yield from _triage(pack.triage, pack.located["triage", ""], known)


def _review(pack: Pack, today: date) -> Iterator[Diagnostic]:
    located, header = pack.place, pack.header
    due = header.last_review_date + timedelta(days=header.review_interval_days)
    if pack.is_active and today > due:
        message = f"the review of `{pack.id}` was due on {due.isoformat()}"
        yield located.fault("lint/review-overdue", message, "review it and write the day", ("last_review_date",))


def _header(pack: Pack, known: _Known) -> Iterator[Diagnostic]:
    located, header, dictionary = pack.place, pack.header, known.book.dictionary
    places = [("serves", header.serves, "jurisdiction")]
    places += [("jurisdictions", j, "jurisdiction") for j in header.jurisdictions]
    places += [("tightens", j, "jurisdiction") for j in header.tightens]
    for key, name, request in places:
        if name and name not in dictionary.allowed(request):
            yield _unknown(located, (key,), request, name, dictionary.allowed(request))


def _criterion(criterion: model.Criterion, located: Located, pack: Pack, known: _Known) -> Iterator[Diagnostic]:
    effect = criterion.effect
    for key, effects in _EXTRA_KEYS.items():
        if getattr(criterion, key) and effect not in effects:
            message = f"`{key.rstrip('_')}` means nothing with `{effect}`"
            yield located.fault("lint/stray-key", message, f"it belongs to {', '.join(effects)}", (key.rstrip("_"),))
    if effect in FOR_OPTIONS and not criterion.options:
        yield located.fault("lint/no-option", f"`{effect}` does nothing without `options`", "name the options")
    if effect == "withholds" and not (criterion.option and criterion.statuses):
        yield located.fault("lint/no-option", "`withholds` needs `option` and `statuses`")
    is_in_triage = PurePosixPath(located.source.file).name == "triage.yaml"
    if (effect == "triages") != is_in_triage:
        yield located.fault("lint/misplaced", "`triages` belongs into triage.yaml, and nothing else does")
    names: list[tuple[Path, str, str, Iterable[str]]]
    names = [(("options", i), "option", name, known.options) for i, name in enumerate(criterion.options)]
    names += [(("option",), "option", criterion.option, known.options)]
    names += [(("beside", i), "criterion", name, known.criteria) for i, name in enumerate(criterion.beside)]
    names += [(("replaces",), "criterion", criterion.replaces, known.criteria)]
    names += [(("defined_by", i), "name", n, known.definitions) for i, n in enumerate(criterion.defined_by)]
    allowed = known.book.dictionary.allowed("jurisdiction")
    names += [(("jurisdictions", i), "jurisdiction", n, allowed) for i, n in enumerate(criterion.jurisdictions)]
    names += [(("effective_in", name), "jurisdiction", name, allowed) for name in criterion.effective_in]
    for path, kind, name, existing in names:
        if name and name not in existing:
            yield _unknown(located, path, kind, name, existing)
    yield from _level(criterion, located, pack, known)
    for period in (criterion.effective, *criterion.effective_in.values()):
        yield from _period(period, located)
    words = known.fields.get(criterion.of, set()) if effect == "discounts" else known.said
    yield from _placeholders(located, "explain", criterion.explain, words)
    yield from _placeholders(located, "explain_unknown", criterion.explain_unknown, words)
    for key in ("title", "contested", "note"):
        yield from _no_placeholder(located, (key,), getattr(criterion, key))
    yield from _numbers_in_words(criterion, located, known)


def _level(criterion: model.Criterion, located: Located, pack: Pack, known: _Known) -> Iterator[Diagnostic]:
    allowed: Iterable[str] = _LEVELS.get(criterion.effect, ())
    if criterion.effect == "triages":
        levels = [p.triage.levels for p in known.book.family(pack) if p.triage]
        allowed = levels[-1][1:] if levels else ()
    if criterion.effect in {*_LEVELS, "triages"} and criterion.level and criterion.level not in allowed:
        yield _unknown(located, ("level",), "level", criterion.level, allowed)
    gives = _GIVES.get(criterion.effect)
    if gives and criterion.gives and criterion.gives != gives:
        message = f"`{criterion.effect}` cannot give `{criterion.gives}`"
        yield located.fault("lint/stray-key", message, f"write `gives: {gives}`", ("gives",))


def _derived(derived: model.Derived, pack: Pack, known: _Known) -> Iterator[Diagnostic]:
    located = pack.located["derived", derived.id]
    yield from _no_placeholder(located, ("unknown_if", "says"), derived.unknown_if.says if derived.unknown_if else "")
    if derived.unknown_if is not None and derived.unknown_if.report not in known.criteria:
        yield _unknown(located, ("unknown_if", "report"), "criterion", derived.unknown_if.report, known.criteria)


def _referral(rule: model.ReferralRule, pack: Pack, known: _Known) -> Iterator[Diagnostic]:
    located = pack.located["referral", rule.id]
    words = [kind for p in known.book.family(pack) for kind in p.referral_kinds]
    if rule.kind not in words:
        message = f"there are no words for the kind `{rule.kind}`{nearest(rule.kind, words)}"
        yield located.fault("lint/referral-words", message, "add it to `kinds`", ("kind",))
    for position, name in enumerate(rule.criteria):
        if name not in known.criteria:
            yield _unknown(located, ("criteria", position), "criterion", name, known.criteria)
    allowed = known.book.dictionary.allowed("jurisdiction")
    for position, name in enumerate(rule.jurisdictions):
        if name not in allowed:
            yield _unknown(located, ("jurisdictions", position), "jurisdiction", name, allowed)
    yield from _period(rule.effective, located)
    yield from _placeholders(located, "explain", rule.explain, known.said)


def _options(options: model.Options, located: Located, known: _Known) -> Iterator[Diagnostic]:
    for position, option in enumerate(options.options):
        group = option.indication
        if group is None:
            continue
        for key in ("not_met", "unknown", "out_of_date"):
            name = getattr(group, key)
            if name and name not in known.criteria:
                place = ("options", position, "indication", key)
                yield _unknown(located, place, "criterion", name, known.criteria)
        if group.trials and group.trials not in known.derived:
            place = ("options", position, "indication", "trials")
            yield _unknown(located, place, "derived fact", group.trials, known.derived)
    ids = [o.id for o in options.options]
    for position, name in enumerate(options.order.within_group):
        if name not in ids:
            yield _unknown(located, ("order", "within_group", position), "option", name, ids)
    for name in ids:
        if name not in options.order.within_group:
            message = f"`{name}` has no place in the order"
            yield located.fault("lint/unknown-id", message, "add it to `within_group`", ("order", "within_group"))


def _triage(triage: model.Triage, located: Located, known: _Known) -> Iterator[Diagnostic]:
    for key in ("provisional_while_missing", "asks"):
        for position, name in enumerate(getattr(triage, key)):
            if name not in known.facts:
                yield _unknown(located, (key, position), "fact", name, known.facts)


def _unused_parameters(pack: Pack, known: _Known) -> Iterator[Diagnostic]:
    for name in pack.parameters:
        if name not in known.used:
            located = pack.located["parameter", name]
            hint = f"remove it, or use it{nearest(name, known.used)}"
            yield located.fault("lint/unused-parameter", f"no condition reads `${name}`", hint)


def _stale_parameters(pack: Pack, today: date) -> Iterator[Diagnostic]:
    for name, parameter in pack.parameters.items():
        located = pack.located["parameter", name]
        due = parameter.still_valid_on + timedelta(days=pack.header.review_interval_days)
        if today > due:
            message = f"`{name}` was last confirmed on {parameter.still_valid_on.isoformat()}"
            hint = "compare it with its source and write the day"
            yield located.fault("lint/stale-parameter", message, hint, ("still_valid_on",))


def _period(period: model.Period, located: Located) -> Iterator[Diagnostic]:
    if period.from_ and period.until and period.from_ >= period.until:
        yield located.fault("lint/period", "`until` is not after `from`", "until is exclusive", ("effective",))


def _placeholders(located: Located, key: str, text: str, words: Iterable[str]) -> Iterator[Diagnostic]:
    """Find placeholders that name nothing, and braces that are none, which a clinician would read as they stand."""
    stray = _BRACE.search(_PLACEHOLDER.sub(" ", text))
    if stray is not None:
        message = f"a brace stands alone: `{stray.group().strip()}`"
        yield located.fault(
            "lint/placeholder", message, "write {NAME}, with both braces, for a patient's value", (key,)
        )
    for name in _PLACEHOLDER.findall(text):
        if name not in words:
            message = f"`{{{name}}}` names nothing{nearest(name, words)}"
            yield located.fault("lint/placeholder", message, "write a fact or derived fact", (key,))


def _no_placeholder(located: Located, path: Path, text: str) -> Iterator[Diagnostic]:
    if "{" in text or "}" in text:
        message = f"`{path[-1]}` is shown as it stands, braces too"
        yield located.fault("lint/placeholder", message, "a patient's values belong into `explain`", path)


def _numbers_in_words(criterion: model.Criterion, located: Located, known: _Known) -> Iterator[Diagnostic]:
    """Find a parameter's number written out where a stricter one could be in force and make the sentence false."""
    for name in sorted(mentions(criterion)):
        for number in known.numbers.get(name, ()):
            for key in ("title", "explain"):
                if re.search(rf"(?<!\d)(?<!\d\.){re.escape(number)}(?!\d|\.\d)", getattr(criterion, key)):
                    message = f"`{key}` writes {number} out, which is the parameter `{name}`"
                    hint = f"write `{{{name}}}` in `explain`, and no number in `title`"
                    yield located.fault("lint/number-in-words", message, hint, (key,))


def _unknown(located: Located, path: Path, kind: str, name: str, existing: Iterable[str]) -> Diagnostic:
    return located.fault("lint/unknown-id", f"there is no {kind} `{name}`{nearest(name, existing)}", "", path)
