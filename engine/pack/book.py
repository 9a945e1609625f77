"""What a rules folder holds, read: packs with their items in reading order, and the place of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from engine.errors import NoRulePackError, Violation
from engine.names import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from engine.dictionary import Dictionary, FactDefinition
    from engine.errors import Diagnostic
    from engine.pack import model
    from engine.pack.source import Path, Source
    from engine.trials import Drug


@dataclass(frozen=True)
class Located:
    """Where an item of a pack stands: its file and its path in it."""

    source: Source
    path: Path

    def fault(self, code: str, message: str, hint: str = "", within: Path = ()) -> Diagnostic:
        """Make a diagnostic about the item, or about the value at `within` inside it."""
        return self.source.fault((*self.path, *within), code, message, hint)


@dataclass
class Contents:
    """The items of one pack in reading order, and where each stands (by kind and id)."""

    criteria: dict[str, model.Criterion] = field(default_factory=dict)
    derived: list[model.Derived] = field(default_factory=list)
    parameters: dict[str, model.Parameter] = field(default_factory=dict)
    references: dict[str, model.Reference] = field(default_factory=dict)
    triage: model.Triage | None = None
    referrals: list[model.ReferralRule] = field(default_factory=list)
    referral_kinds: dict[str, str] = field(default_factory=dict)
    options: model.Options | None = None
    located: dict[tuple[str, str], Located] = field(default_factory=dict)


class Pack:
    """One pack: its header, and its items, which are read when they are first asked for.

    A pack whose content is the one in packs.lock was without fault when it was pinned, and nobody waits for its items
    who does not need them. Reading may raise RulePackError.
    """

    def __init__(
        self,
        header: model.PackHeader,
        digest: str,
        files: Mapping[str, bytes],
        place: Located,
        read: Callable[[], Contents],
    ) -> None:
        """Hold a pack: `place` is where its header stands, `read` gives its items."""
        self.header = header
        self.digest = digest
        self.files = files
        self.place = place
        self._read = read

    @cached_property
    def contents(self) -> Contents:
        """The items. Raises: RulePackError."""
        return self._read()

    @property
    def criteria(self) -> Mapping[str, model.Criterion]:
        """The criteria by id."""
        return self.contents.criteria

    @property
    def derived(self) -> Sequence[model.Derived]:
        """The derived facts."""
        return self.contents.derived

    @property
    def parameters(self) -> Mapping[str, model.Parameter]:
        """The dated numbers by name."""
        return self.contents.parameters

    @property
    def references(self) -> Mapping[str, model.Reference]:
        """The sources by key."""
        return self.contents.references

    @property
    def triage(self) -> model.Triage | None:
        """The suicide triage, if the pack brings it."""
        return self.contents.triage

    @property
    def referrals(self) -> Sequence[model.ReferralRule]:
        """The referral rules."""
        return self.contents.referrals

    @property
    def referral_kinds(self) -> Mapping[str, str]:
        """Words for kinds of referral."""
        return self.contents.referral_kinds

    @property
    def options(self) -> model.Options | None:
        """The options, if the pack brings them."""
        return self.contents.options

    @property
    def located(self) -> Mapping[tuple[str, str], Located]:
        """Where each item stands, by kind and id."""
        return self.contents.located

    @property
    def id(self) -> str:
        """The pack's id."""
        return self.header.id

    @property
    def is_active(self) -> bool:
        """Whether the pack answers; a draft or a retired pack is only kept."""
        return self.header.status == "active"

    @property
    def folder(self) -> str:
        """The pack's folder inside the rules folder."""
        return str(PurePosixPath(self.place.source.file).parent)

    def file_of(self, criterion: str) -> str:
        """Give the file that holds a criterion, inside the rules folder."""
        return self.located["criterion", criterion].source.file


@dataclass
class RuleBook:
    """Everything the rules folder holds.

    `reference_digest` covers facts.yaml's tables (rules/reference), `facts_digest` the data dictionary; `facts_files`
    and `reference_files` are what they cover, by path.
    """

    dictionary: Dictionary
    drugs: Mapping[str, Drug]
    packs: Mapping[str, Pack]
    facts_digest: str
    reference_digest: str
    facts_files: Mapping[str, bytes] = field(default_factory=dict)
    reference_files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts: dict[str, FactDefinition] = self.dictionary.by_name()
        self.fields = {name: {f.id: f for f in fact.fields} for name, fact in self.facts.items() if fact.fields}

    @property
    def jurisdictions(self) -> frozenset[str]:
        """The jurisdictions that an active pack serves."""
        return frozenset(p.header.serves for p in self.packs.values() if p.header.serves and p.is_active)

    @property
    def payers(self) -> frozenset[str]:
        """The payers that an active pack speaks for."""
        return frozenset(p.header.payer for p in self.packs.values() if p.header.payer and p.is_active)

    def check_payer(self, payer_id: str | None) -> list[Violation]:
        """Find fault with a payer that the data dictionary does not name; no payer is no fault."""
        allowed = self.dictionary.allowed("payer_id")
        if not payer_id or payer_id in allowed:
            return []
        message = f"must be one of {', '.join(allowed)}{nearest(payer_id, allowed)}"
        return [Violation("payer_id", "request/unknown-value", message)]

    def family(self, pack: Pack) -> tuple[Pack, ...]:
        """Give a pack after those it extends."""
        ordered: dict[str, Pack] = {}
        visited: set[str] = set()

        def add(member: Pack) -> None:
            visited.add(member.id)
            for base in member.header.extends:
                if base in self.packs and base not in visited:
                    add(self.packs[base])
            ordered[member.id] = member

        add(pack)
        return tuple(ordered.values())

    def derived(self, name: str) -> model.Derived | None:
        """Give a derived fact by its name; None if there is none."""
        return next((d for p in self.packs.values() for d in p.derived if d.id == name), None)

    @property
    def local_packs(self) -> tuple[Pack, ...]:
        """The active packs that only tighten what a jurisdiction's packs say."""
        return tuple(p for p in self.packs.values() if p.header.tightens and p.is_active)

    @cached_property
    def national(self) -> RuleBook:
        """The same book without local packs."""
        return replace(self, packs={i: p for i, p in self.packs.items() if not p.header.tightens})

    @property
    def pack_sets(self) -> tuple[tuple[str, str | None], ...]:
        """Each jurisdiction, alone and with each payer that has rules of its own there."""
        found: list[tuple[str, str | None]] = []
        for jurisdiction in sorted(self.jurisdictions):
            alone = self.packs_for(jurisdiction)
            payers = (payer for payer in sorted(self.payers) if self.packs_for(jurisdiction, payer) != alone)
            found += [(jurisdiction, None), *((jurisdiction, payer) for payer in payers)]
        return tuple(found)

    def packs_for(self, jurisdiction: str, payer_id: str | None = None) -> tuple[Pack, ...]:
        """Give the packs that answer for a jurisdiction and payer, each after those it extends; local packs come last.

        A payer without a pack adds none. Raises: NoRulePackError.
        """
        entries = [p for p in self.packs.values() if p.header.serves == jurisdiction and p.is_active]
        if not entries:
            raise NoRulePackError(jurisdiction, self.jurisdictions)
        if payer_id:
            entries += [
                p
                for p in self.packs.values()
                if p.header.payer == payer_id
                and p.is_active
                and (not p.header.jurisdictions or jurisdiction in p.header.jurisdictions)
            ]
        entries += [p for p in self.local_packs if jurisdiction in p.header.tightens]
        return tuple({member.id: member for pack in entries for member in self.family(pack)}.values())


def parameters_of(packs: Iterable[Pack]) -> dict[str, model.Parameter]:
    """Give the dated numbers of packs that answer together, in their order; a local pack's tighten what they name."""
    found: dict[str, model.Parameter] = {}
    for pack in packs:
        for name, parameter in pack.parameters.items():
            found[name] = found[name].tightened(parameter) if name in found else parameter
    return found
