"""Rule packs from a folder or from their canonical bytes, with every fault at its line.

Loading checks shapes, names of sources, doubled ids and the lock; `engine.compiler` checks conditions and types.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from engine.dictionary import Dictionary
from engine.errors import Diagnostic, RulePackError
from engine.names import nearest
from engine.pack import digest as canonical
from engine.pack import model
from engine.pack.book import Contents, Located, Pack, RuleBook
from engine.pack.lint import lint_local
from engine.pack.overlay import read_overlay
from engine.pack.shape import shape_faults
from engine.pack.source import Path as Place
from engine.pack.source import Source, read_source
from engine.trials import Drug, read_drugs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T", bound=BaseModel)
Lock: TypeAlias = "Mapping[tuple[str, str], str]"
"""Pack id and version to the SHA-256 of its content, as in packs.lock."""

FACTS_FILE = "facts.yaml"
REFERENCE_FOLDER = "reference"


def load_rules(rules: Path, overlays: Iterable[Path] = (), *, is_locked: bool = True) -> RuleBook:
    """Load a rules folder that is without fault.

    Args:
        rules: the folder that holds facts.yaml, reference/ and the packs.
        overlays: folders of local packs, which may only tighten what the packs say; they stand in no lock.
        is_locked: refuse an active pack whose digest is not the one in packs.lock.

    Raises:
        RulePackError: every fault of every file, sorted by place.

    """
    locked = canonical.read_lock(rules) if is_locked else {}
    book, faults = read_rules(rules, overlays, locked)
    if book is not None and is_locked and not faults:
        faults += check_lock(book, locked)
    if book is not None and not faults:
        faults += lint_local(book)
    if book is None or faults:
        raise RulePackError(faults)
    return book


def read_rules(
    rules: Path, overlays: Iterable[Path] = (), locked: Lock = MappingProxyType({})
) -> tuple[RuleBook | None, list[Diagnostic]]:
    """Read what can be read of a rules folder, and list what is wrong with it; None without a data dictionary.

    What cannot be read is left out of the book. Packs with the content that `locked` pins are read when they are asked
    for; what was pinned was without fault. Nothing is refused for not being pinned.
    """
    if not (rules / FACTS_FILE).is_file():
        message = "there is no data dictionary here; point --rules at the folder that holds facts.yaml"
        return None, [Diagnostic(FACTS_FILE, 1, 1, "pack/missing-file", message)]
    folders = [header.parent for header in sorted(rules.rglob("pack.yaml"))]
    packs = [(folder.relative_to(rules).as_posix(), canonical.read_files(folder)) for folder in folders]
    unreadable: list[Diagnostic] = []
    local = [(folder.absolute().as_posix(), read_overlay(folder, unreadable)) for folder in overlays]
    facts = {FACTS_FILE: (rules / FACTS_FILE).read_bytes()}
    book, faults = _assemble(facts, canonical.read_files(rules / REFERENCE_FOLDER), packs + local, locked)
    faults += unreadable
    if book is not None:
        faults += _check_scope(book, {name for name, _ in local})
    return book, faults


def _check_scope(book: RuleBook, overlays: set[str]) -> list[Diagnostic]:
    """Refuse a local pack that does not say what it tightens, or that would answer by itself."""
    faults = []
    for pack in book.packs.values():
        header, located = pack.header, pack.place
        if pack.folder in overlays and not header.tightens:
            hint = "write `tightens: [US]`: the jurisdictions whose answers it may make stricter"
            faults.append(located.fault("local/no-scope", f"the local pack `{pack.id}` tightens nothing", hint))
        if pack.folder in overlays and not pack.is_active:
            message = f"the local pack `{pack.id}` is {header.status}, so it would do nothing"
            hint = "write `status: active`, or leave the folder out"
            faults.append(located.fault("local/no-scope", message, hint, ("status",)))
        if header.tightens and (header.serves or header.payer):
            message = f"`{pack.id}` tightens other packs and cannot serve a jurisdiction or a payer itself"
            faults.append(located.fault("local/no-scope", message, "leave out `serves` and `payer`", ("tightens",)))
    return faults


def book_from_bytes(facts: bytes, reference: bytes, packs: Iterable[bytes]) -> RuleBook:
    """Make a rule book from canonical forms: of facts.yaml, of the tables of rules/reference, and of each pack.

    Diagnostics name a pack's id where they would name its folder. The lock is not looked at: who has the bytes chose
    them by their digest.

    Raises:
        RulePackError: every fault, sorted by place.

    """
    decoded = [canonical.decode(content) for content in packs]
    files = _facts_files(facts)
    book, faults = _assemble(files, canonical.decode(reference), [(_id_of(pack), pack) for pack in decoded])
    if book is None or faults:
        raise RulePackError(faults)
    return book


def dictionary_from_bytes(facts: bytes) -> Dictionary:
    """Read the data dictionary from the canonical form of facts.yaml. Raises: RulePackError."""
    faults: list[Diagnostic] = []
    dictionary = _read_dictionary(_facts_files(facts)[FACTS_FILE], faults)
    if dictionary is None or faults:
        raise RulePackError(faults)
    return dictionary


def _facts_files(facts: bytes) -> dict[str, bytes]:
    files = canonical.decode(facts)
    if set(files) != {FACTS_FILE}:
        raise RulePackError([Diagnostic(FACTS_FILE, 1, 1, "pack/missing-file", "the bytes are not facts.yaml alone")])
    return files


def _assemble(
    facts: Mapping[str, bytes],
    reference: Mapping[str, bytes],
    packs: Iterable[tuple[str, Mapping[str, bytes]]],
    locked: Lock = MappingProxyType({}),
) -> tuple[RuleBook | None, list[Diagnostic]]:
    """Put a book together; each pack comes with its name in diagnostics.

    INVARIANT: packs stand in the order of their ids, so where they were kept decides nothing.
    """
    faults: list[Diagnostic] = []
    dictionary = _read_dictionary(facts[FACTS_FILE], faults)
    drugs = _read_drugs(reference, faults)
    found: dict[str, Pack] = {}
    for name, files in packs:
        pack = read_pack(files, name, faults)
        if pack is None:
            continue
        if not _is_pinned(pack, locked):
            pack.contents = _read_contents(files, name, pack.place, faults)
        if pack.id in found:
            faults.append(_twice("pack", pack.id, pack.place, found[pack.id].place))
        found.setdefault(pack.id, pack)
    if dictionary is None:
        return None, faults
    book = RuleBook(
        dictionary.with_payers({p.header.payer for p in found.values() if p.header.payer}),
        drugs,
        dict(sorted(found.items())),
        canonical.digest(facts),
        canonical.digest(reference),
        facts,
        reference,
    )
    return book, faults + _check_links(book, locked)


def _is_pinned(pack: Pack, locked: Lock) -> bool:
    return locked.get((pack.id, pack.header.version)) == pack.digest


def _id_of(files: Mapping[str, bytes]) -> str:
    """Give the id that a pack's header claims; a pack without one is told apart by nothing."""
    data = _read("pack.yaml", files.get("pack.yaml", b""), []).data
    return str(data.get("id", "pack")) if isinstance(data, dict) else "pack"


def check_lock(book: RuleBook, locked: Lock) -> list[Diagnostic]:
    """List the active packs whose content is not what packs.lock says."""
    return [
        pack.place.fault(
            "pack/not-locked",
            f"the content of `{pack.id}` {pack.header.version} is not the one in {canonical.LOCK_FILE}",
            "raise the version and run `eligibility rules lock`",
            ("version",),
        )
        for pack in book.packs.values()
        if pack.is_active and not pack.header.tightens and not _is_pinned(pack, locked)
    ]


def read_pack(files: Mapping[str, bytes], name: str, faults: list[Diagnostic]) -> Pack | None:
    """Read the header of one pack; faults are added to `faults`, those of its items raised when they are asked for.

    None if the header cannot be read.
    """
    if "pack.yaml" not in files:
        faults.append(Diagnostic(f"{name}/pack.yaml", 1, 1, "pack/missing-file", "a pack needs a pack.yaml"))
        return None
    source = _read(f"{name}/pack.yaml", files["pack.yaml"], faults)
    header = _validate(model.PackHeader, source, faults)
    if header is None:
        return None
    place = Located(source, ())

    def read() -> Contents:
        found: list[Diagnostic] = []
        contents = _read_contents(files, name, place, found)
        if found:
            raise RulePackError(found)
        return contents

    return Pack(header, canonical.digest(files), files, place, read)


def _read_contents(files: Mapping[str, bytes], name: str, place: Located, faults: list[Diagnostic]) -> Contents:
    contents = Contents(located={("pack", ""): place})
    for path, content in sorted(files.items()):
        if path.endswith(".yaml") and path != "pack.yaml":
            source = _read(f"{name}/{path}", content, faults)
            if source.data is not None:
                _read_file(contents, PurePosixPath(path).stem, source, faults)
    return contents


def _read_file(contents: Contents, stem: str, source: Source, faults: list[Diagnostic]) -> None:
    if stem.startswith("parameters"):
        for key, parameter in _validate_mapping(model.Parameter, source, faults):
            _add(contents, "parameter", key, parameter, Located(source, (key,)), faults)
    elif stem == "references":
        for key, reference in _validate_mapping(model.Reference, source, faults):
            _add(contents, "reference", key, reference, Located(source, (key,)), faults)
    elif stem.startswith("derived"):
        for place, derived in _validate_list(model.Derived, source, (), source.data, faults):
            _add(contents, "derived", derived.id, derived, Located(source, place), faults)
    elif stem == "triage":
        contents.triage = _validate(model.Triage, source, faults)
        contents.located["triage", ""] = Located(source, ())
        for position, criterion in enumerate(contents.triage.criteria if contents.triage else ()):
            _add(contents, "criterion", criterion.id, criterion, Located(source, ("criteria", position)), faults)
    elif stem == "referrals":
        read = _validate(model.Referrals, source, faults)
        contents.referral_kinds.update(read.kinds if read else {})
        for position, rule in enumerate(read.referrals if read else ()):
            _add(contents, "referral", rule.id, rule, Located(source, ("referrals", position)), faults)
    elif stem == "options":
        contents.options = _validate(model.Options, source, faults)
        contents.located["options", ""] = Located(source, ())
    else:
        for place, criterion in _validate_list(model.Criterion, source, (), source.data, faults):
            _add(contents, "criterion", criterion.id, criterion, Located(source, place), faults)


def _add(contents: Contents, kind: str, key: str, item: BaseModel, located: Located, faults: list[Diagnostic]) -> None:
    if (kind, key) in contents.located:
        faults.append(_twice(kind, key, located, contents.located[kind, key]))
        return
    contents.located[kind, key] = located
    match item:
        case model.Criterion():
            contents.criteria[key] = item
        case model.Derived():
            contents.derived.append(item)
        case model.Parameter():
            contents.parameters[key] = item
        case model.Reference():
            contents.references[key] = item
        case model.ReferralRule():
            contents.referrals.append(item)


def _twice(kind: str, key: str, located: Located, first: Located) -> Diagnostic:
    line, _ = first.source.place((*first.path, "id"))
    message = f"{kind} `{key}` exists twice; the first stands at {first.source.file}:{line}"
    return located.fault("pack/duplicate-id", message, "ids are never reused", ("id",))


def _read(file: str, content: bytes, faults: list[Diagnostic]) -> Source:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        faults.append(Diagnostic(file, 1, 1, "pack/encoding", "the file is not UTF-8"))
        return Source(file)
    source = read_source(file, text)
    faults += source.faults
    return source


def _read_dictionary(content: bytes, faults: list[Diagnostic]) -> Dictionary | None:
    source = _read(FACTS_FILE, content, faults)
    return _validate(Dictionary, source, faults)


def _read_drugs(files: Mapping[str, bytes], faults: list[Diagnostic]) -> dict[str, Drug]:
    try:
        return read_drugs(files["antidepressants.csv"].decode(), files["augmentation_agents.csv"].decode())
    except (KeyError, ValueError, ArithmeticError) as error:
        message = f"the drug tables cannot be read: {type(error).__name__} {error}"
        faults.append(Diagnostic(f"{REFERENCE_FOLDER}/antidepressants.csv", 1, 1, "pack/table", message))
        return {}


def _check_links(book: RuleBook, locked: Lock) -> list[Diagnostic]:
    """Check what one pack needs of another: bases, sources, ids that are unique over all packs that meet."""
    faults = []
    for pack in book.packs.values():
        header = pack.place
        unknown = [base for base in pack.header.extends if base not in book.packs]
        faults += [
            header.fault("pack/unknown-pack", f"`{base}` is not a pack{nearest(base, book.packs)}", within=("extends",))
            for base in unknown
        ]
        if unknown:
            continue
        if _extends_itself(book, pack):
            faults.append(header.fault("pack/cycle", f"`{pack.id}` extends itself", within=("extends",)))
            continue
        if _is_pinned(pack, locked):
            continue
        family = book.family(pack)
        sources = {key for member in family for key in member.references}
        taken: dict[tuple[str, str], Pack] = {}
        for member in family:
            for (kind, key), located in member.located.items():
                if kind in {"pack", "options", "triage"}:
                    continue
                other = taken.setdefault((kind, key), member)
                is_tightened = kind == "parameter" and bool(pack.header.tightens)
                if other is not member and member is pack and not is_tightened:
                    faults.append(_twice(kind, key, located, other.located[kind, key]))
        for (kind, key), located in pack.located.items():
            for position, cited in enumerate(_citations(pack, kind, key)):
                if cited.source not in sources:
                    message = f"`{cited.source}` is not in references.yaml{nearest(cited.source, sources)}"
                    place = ("references", position, "source")
                    faults.append(located.fault("pack/unknown-source", message, "add it there, once", place))
    return faults


def _extends_itself(book: RuleBook, pack: Pack) -> bool:
    reached: set[str] = set()
    queue = list(pack.header.extends)
    while queue:
        base = queue.pop()
        if base in book.packs and base not in reached:
            reached.add(base)
            queue += book.packs[base].header.extends
    return pack.id in reached


def _citations(pack: Pack, kind: str, key: str) -> Iterable[model.Citation]:
    if kind == "criterion":
        return pack.criteria[key].references
    if kind == "parameter":
        return pack.parameters[key].references
    if kind == "derived":
        return next(d.references for d in pack.derived if d.id == key)
    return ()


def _validate(kind: type[T], source: Source, faults: list[Diagnostic]) -> T | None:
    return validated(kind, source, (), source.data, faults)


def _validate_mapping(kind: type[T], source: Source, faults: list[Diagnostic]) -> Iterable[tuple[str, T]]:
    if not isinstance(source.data, dict):
        faults.append(source.fault((), "pack/shape", "expected a mapping of names"))
        return
    for key, data in source.data.items():
        item = validated(kind, source, (key,), data, faults)
        if item is not None:
            yield key, item


def _validate_list(
    kind: type[T], source: Source, path: Place, data: object, faults: list[Diagnostic]
) -> Iterable[tuple[Place, T]]:
    if not isinstance(data, list):
        faults.append(source.fault(path, "pack/shape", "expected a list: each item begins with `- `"))
        return
    for position, entry in enumerate(data):
        item = validated(kind, source, (*path, position), entry, faults)
        if item is not None:
            yield (*path, position), item


def validated(kind: type[T], source: Source, path: Place, data: object, faults: list[Diagnostic]) -> T | None:
    """Read one item of a file; None, with its faults added, if its shape is wrong."""
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        faults += shape_faults(kind, source, path, error.errors())
        return None
