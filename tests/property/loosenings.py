"""Ways in which a local pack tries to make answers better; each gives the files of such a pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import trials
from tests.property.local_packs import HOLDING_BACK, LATER, LONG_AGO, Files, LocalPacks, since

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.property.local_packs import Json

_BY_EFFECT: dict[str, dict[str, Json]] = {
    "indicates": {},
    "covers": {},
    "denies": {},
    "asks_approval": {},
    "plans": {"plan": "house_plan"},
    "reports": {"at": ["eligible"]},
    "triages": {"level": "low"},
    "discounts": {"of": "trials", "options": [], "when": "ongoing", "unless": None},
    "concludes": {"when": None},
    "withholds": {"when": None, "option": "esketamine", "statuses": ["deferred"]},
    "defines": {"when": None, "defined_by": ["trd"]},
}


def higher_limit(rng: Random, packs: LocalPacks, name: str) -> Files:
    return packs.frame(name) | packs.numbers(since(LONG_AGO, packs.limits(rng, 1)))


def higher_limit_later(rng: Random, packs: LocalPacks, name: str) -> Files:
    stricter = packs.limits(rng, -1)
    dated = {limit: {LONG_AGO: value, LATER: value + 21} for limit, value in stricter.items()}
    return packs.frame(name) | packs.numbers(dated)


def number_by_which_trials_are_read(rng: Random, packs: LocalPacks, name: str) -> Files:
    number = rng.choice(trials.PARAMETERS)
    value = int(packs.national.parameters[number][1]) + rng.choice((-2, -1, 1, 2))
    return packs.frame(name) | packs.numbers(since(LONG_AGO, {number: value}))


def other_effect(rng: Random, packs: LocalPacks, name: str) -> Files:
    effect = rng.choice(sorted(_BY_EFFECT))
    criterion = packs.criterion(rng, f"{name.upper()}-01", "cautions") | {"effect": effect} | _BY_EFFECT[effect]
    kept = {key: value for key, value in criterion.items() if value is not None}
    return packs.frame(name) | {"rules.yaml": [kept]}


def replacement(rng: Random, packs: LocalPacks, name: str) -> Files:
    replaced = {"replaces": rng.choice(sorted(packs.national.criteria))}
    return packs.frame(name) | {"rules.yaml": [packs.criterion(rng, f"{name.upper()}-01") | replaced]}


def no_standard_care(rng: Random, packs: LocalPacks, name: str) -> Files:
    options = rng.choice((["conventional"], ["esketamine", "conventional"]))
    criterion = packs.criterion(rng, f"{name.upper()}-01", rng.choice(HOLDING_BACK), options)
    return packs.frame(name) | {"rules.yaml": [criterion]}


def criterion_of_the_same_id(rng: Random, packs: LocalPacks, name: str) -> Files:
    taken = rng.choice([n for n, c in packs.national.criteria.items() if c.effect in HOLDING_BACK])
    return packs.frame(name, extends=()) | {"rules.yaml": [packs.criterion(rng, taken)]}


def concept_of_the_same_id(rng: Random, packs: LocalPacks, name: str) -> Files:
    taken = rng.choice([n for n, d in packs.national.derived.items() if not d.of and d.when is not None])
    concept = {"id": taken, "label": "what this hospital takes it for", "when": "always"}
    return packs.frame(name, extends=()) | {"derived.yaml": [concept]}


def referral_of_the_same_id(rng: Random, packs: LocalPacks, name: str) -> Files:
    taken = rng.choice(packs.national.referrals)
    rule = {"kind": taken.kind, "urgency": taken.urgency, "criteria": [taken.criteria[0]]}
    rule |= {"when": "age_years < 0 a", "explain": "This hospital asks for it."}
    return packs.frame(name, extends=()) | {"referrals.yaml": {"referrals": [rule]}}


def words_of_a_national_referral(rng: Random, packs: LocalPacks, name: str) -> Files:
    kinds = {rng.choice(packs.national.referrals).kind: "nothing to worry about"}
    return packs.frame(name) | {"referrals.yaml": {"kinds": kinds, "referrals": []}}


def source_of_the_same_key(rng: Random, packs: LocalPacks, name: str) -> Files:
    keys = sorted(key for pack in packs.national.packs for key in pack.references)
    title = {"title": "House rules"}
    return packs.frame(name, extends=()) | {"references.yaml": {rng.choice(keys): title}}


def packs_of_elsewhere(rng: Random, packs: LocalPacks, name: str) -> Files:
    here = {pack.id for pack in packs.national.packs}
    elsewhere = [each for each in ("us", "eu", "ca", "va", "payer-uhc", "payer-nhs") if each not in here]
    return packs.frame(name, extends=("shared", rng.choice(elsewhere)))


def answer_of_its_own(rng: Random, packs: LocalPacks, name: str) -> Files:
    files = packs.frame(name)
    files["pack.yaml"] |= rng.choice(
        ({"tightens": []}, {"serves": "US"}, {"payer": "HOUSE", "standing": "The house's."})
    )
    return files


def options_of_its_own(_: Random, packs: LocalPacks, name: str) -> Files:
    text = next(pack.files["options.yaml"].decode() for pack in packs.national.packs if pack.options)
    return packs.frame(name) | {"options.yaml": text}


def triage_of_its_own(rng: Random, packs: LocalPacks, name: str) -> Files:
    given = packs.national.triage
    asks = rng.sample(given.asks, len(given.asks) - 1)
    missing = list(given.provisional_while_missing)
    triage = {"levels": list(given.levels), "provisional_while_missing": missing, "asks": asks, "criteria": []}
    return packs.frame(name) | {"triage.yaml": triage}


LOOSENINGS: tuple[Callable[[Random, LocalPacks, str], Files], ...] = (
    higher_limit,
    higher_limit_later,
    number_by_which_trials_are_read,
    other_effect,
    replacement,
    no_standard_care,
    criterion_of_the_same_id,
    concept_of_the_same_id,
    referral_of_the_same_id,
    words_of_a_national_referral,
    source_of_the_same_key,
    packs_of_elsewhere,
    answer_of_its_own,
    options_of_its_own,
    triage_of_its_own,
)
