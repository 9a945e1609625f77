"""Random patients over the data dictionary, drawn where the answers of one jurisdiction change.

Numbers come from the thresholds of its compiled rules and their neighbours, days of evaluation from the days on which
one of its rules begins or ends. A patient is a request as a caller writes it. The same seed draws the same patients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from engine.compiler.stages import compile_packs
from engine.facts import read_facts
from tests.property.situations import SITUATIONS, contradict
from tests.property.thresholds import thresholds_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

    from engine.dictionary import FactDefinition
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook

Raw: TypeAlias = dict[str, object]

JURISDICTION = "US"
JURISDICTIONS = (JURISDICTION, "EU", "UK", "CA", "VA")
TODAY = date(2025, 6, 2)

BENIGN: Mapping[str, object] = {
    "care_setting": "outpatient",
    "prescriber_specialty": "psychiatrist",
    "age_years": 40,
    "sex_at_birth": "female",
    "weight_kg": 70,
    "pregnancy_status": "not_pregnant",
    "childbearing_potential": True,
    "contraception_effective": True,
    "breastfeeding": False,
    "dx_primary": "mdd_recurrent",
    "dx_confirmed_dsm5": True,
    "episode_current": True,
    "episode_in_remission": False,
    "depression_severity": "severe",
    "madrs_total": 36,
    "phq9_total": 21,
    "mdd_psychotic_features_current": "no",
    "psychotic_disorder_history": "none",
    "bipolar_history": "no",
    "catatonia": "no",
    "neurocog_status": "none",
    "delirium_current": "no",
    "si_level": "none",
    "suicidal_behavior_recency": "none",
    "imminent_risk_judgement": False,
    "psychiatric_emergency_judgement": False,
    "psychotherapy_trial_adequate": "yes",
    "ect_history": "none",
    "tms_history": "none",
    "concomitant_oral_ad": "yes",
    "oral_ad_class": "ssri",
    "prior_esketamine": "none",
    "prior_ketamine": "none",
    "treatment_phase": "not_started",
    "benefit_at_week4": "not_applicable",
    "aneurysmal_vascular_disease": "no",
    "arteriovenous_malformation": "no",
    "intracerebral_hemorrhage_history": "no",
    "hypersensitivity_esk_ket": "no",
    "raised_icp": "no",
    "cv_event_history": "no",
    "cv_resp_status": "none",
    "hypertensive_encephalopathy_history": "no",
    "bp_rise_serious_risk": False,
    "sbp_mmHg": 124,
    "dbp_mmHg": 78,
    "spo2_pct": 98,
    "hepatic_child_pugh": "none",
    "dialysis": False,
    "interstitial_cystitis": "none",
    "aud_status": "none",
    "sud_status": "none",
    "sud_substances": [],
    "ketamine_misuse_history": "no",
    "uds_positive": "no",
    "active_intoxication": False,
    "pdmp_checked": True,
    "med_cns_depressants": [],
    "med_psychostimulant": False,
    "med_maoi": False,
    "med_theophylline": False,
    "ketamine_concurrent": False,
    "rems_setting_certified": "yes",
    "rems_patient_enrolled": "yes",
    "transport_arranged": True,
    "home_use_planned": False,
    "ketamine_formulation": "approved_injectable",
    "acls_staff_available": True,
    "decision_capacity": "yes",
    "informed_consent": True,
    "trial_history_complete": True,
}
"""Someone for whom every option is open."""

_EPISODE_DAYS = 400
_SITUATED = 0.25
_DATED, _DATED_ALARM = 0.03, 0.3
"""How many known facts come with a date, and how many of those of which an old observation may raise an alarm."""
"""The share of patients who are in one of the situations."""
_FAILED: Mapping[str, object] = {
    "adherence": "adherent",
    "outcome": "nonresponse",
    "improvement_pct": 10,
    "role": "mono",
}
_FAILED_ADJUNCT: Mapping[str, object] = {"role": "augmentation", "outcome": "nonresponse", "weeks_at_adequate_dose": 8}
_ADJUNCTS = ("quetiapine", "lithium")
_COMMON_DRUGS = ("sertraline", "escitalopram", "venlafaxine", "bupropion", "mirtazapine", *_ADJUNCTS)
_AUGMENTED = 0.2
"""The share of lists in which two augmentations failed as well."""


@dataclass(frozen=True, slots=True)
class Regime:
    """How patients are drawn: shares of facts that are missing, and of those known that are drawn at random.

    The rest is as in `BENIGN`. `contradicted` is the share of patients given one of the contradictions X1 to X5.
    """

    name: str
    missing: float
    random: float
    contradicted: float = 0.05


REGIMES = (
    Regime("complete, one or two facts off", missing=0.0, random=0.02, contradicted=0.0),
    Regime("one or two facts missing", missing=0.02, random=0.02, contradicted=0.0),
    Regime("almost complete, mostly benign", missing=0.05, random=0.04),
    Regime("mostly benign", missing=0.20, random=0.06),
    Regime("complete, anything goes", missing=0.02, random=0.9, contradicted=0.3),
    Regime("half known", missing=0.5, random=0.12),
    Regime("nearly empty", missing=0.9, random=0.5),
    Regime("contradictory", missing=0.1, random=0.1, contradicted=1.0),
)


@dataclass(frozen=True, slots=True)
class Patient:
    """One request."""

    facts: Raw
    payer: str | None
    as_of: date


@dataclass(frozen=True, slots=True)
class Count:
    """How many patients a test draws under US rules and under those of each other jurisdiction: as a rule, in full."""

    us: tuple[int, int]
    elsewhere: tuple[int, int]

    def of(self, jurisdiction: str, *, is_full: bool) -> int:
        """Give the number for one jurisdiction."""
        return (self.us if jurisdiction == JURISDICTION else self.elsewhere)[is_full]


@dataclass
class Patients:
    """Draws patients for one jurisdiction of a rule book.

    Attributes:
        payers: None and those whose rules apply there.
        thresholds: for each fact and field the numbers with which it is compared, dates as days before `as_of`.
        fixed_days: for each date fact the days with which it is compared.
        days: those on which a rule begins or ends to hold, or a number changes.
        alarms: the facts of which an old observation may raise an alarm, with the ages at which it does no longer.

    """

    book: RuleBook
    jurisdiction: str = JURISDICTION
    payers: tuple[str | None, ...] = field(init=False)
    thresholds: Mapping[str, tuple[int, ...]] = field(init=False)
    fixed_days: Mapping[str, tuple[date, ...]] = field(init=False)
    days: tuple[date, ...] = field(init=False)
    alarms: Mapping[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        alone = self.book.packs_for(self.jurisdiction)
        self.payers = (
            None,
            *(p for p in sorted(self.book.payers) if self.book.packs_for(self.jurisdiction, p) != alone),
        )
        sets = [compile_packs(self.book, self.jurisdiction, payer, TODAY) for payer in self.payers]
        found: dict[str, set[int]] = {}
        for packs in sets:
            for graph in (packs.compiled.graph, *packs.compiled.records.values()):
                for name, constants in thresholds_of(graph).items():
                    found.setdefault(name, set()).update(constants)
        self.thresholds = {name: tuple(sorted(constants)) for name, constants in found.items()}
        compared = {(fact, day) for packs in sets for fact, day in packs.dates.values()}
        self.fixed_days = {fact: tuple(sorted(day for other, day in compared if other == fact)) for fact, _ in compared}
        self.days = tuple(sorted({day for packs in sets for day in packs.rule_dates}))
        limits = {(past.fact, past.days or 0) for packs in sets for past in packs.past.values()}
        self.alarms = {fact: tuple(sorted(days + 1 for name, days in limits if name == fact)) for fact, _ in limits}
        self.trial_fields = {f.id: f for f in self.book.facts["trials"].fields}

    def payers_tried(self, *, is_full: bool) -> tuple[str | None, ...]:
        """Give the payers whose rules a test compiles: those of US insurers under US rules, elsewhere in full alone."""
        packs = self.book.packs.values()
        insurers = {p.header.payer for p in packs if JURISDICTION in p.header.jurisdictions}
        is_all = is_full or self.jurisdiction == JURISDICTION
        return tuple(payer for payer in self.payers if is_all or payer not in insurers)

    def draw(self, rng: Random, regime: Regime | None = None, payer: str | None = None) -> Patient:
        """Draw one patient."""
        regime = regime or rng.choice(REGIMES)
        as_of = self._day(rng)
        names = [n for n, d in self.book.facts.items() if d.type != "records" and rng.random() >= regime.missing]
        rng.shuffle(names)
        facts: Raw = {}
        for name in names:
            definition = self.book.facts[name]
            if rng.random() < regime.random:
                facts[name] = self.value(rng, definition, as_of)
            elif name == "episode_start_date":
                facts[name] = (as_of - timedelta(days=_EPISODE_DAYS)).isoformat()
            elif name in BENIGN:
                facts[name] = BENIGN[name]
            if rng.random() < (_DATED_ALARM if name in self.alarms else _DATED) and name in facts:
                facts[name] = self._observed(rng, definition, facts[name], as_of)
        if rng.random() < _SITUATED:
            facts |= self._situation(rng, regime, as_of)
        if rng.random() >= regime.missing:
            facts["trials"] = self.trials(rng, regime, as_of)
        if rng.random() < regime.contradicted:
            contradict(rng, facts, as_of)
        return Patient(facts, payer, as_of)

    def read(self, patient: Patient) -> PatientFacts:
        """Read a patient at the door."""
        return read_facts(self.book.facts, self.book.dictionary.constraints, patient.facts, patient.as_of)

    def value(self, rng: Random, definition: FactDefinition, as_of: date) -> object:
        """Draw one value that fits a fact, most often at a boundary."""
        match definition.type:
            case "bool":
                return rng.random() < 0.5
            case "enum":
                return rng.choice([*definition.values, "unknown"])
            case "set":
                return rng.sample(list(definition.values), rng.choice((0, 0, 1, 2)))
            case "int" | "decimal":
                return self.number(rng, definition)
            case "date":
                if rng.random() < 0.02:
                    return (as_of + timedelta(days=rng.randint(1, 30))).isoformat()
                return rng.choice(list(self._past_days(rng, definition, as_of))).isoformat()
            case _:
                return rng.choice([*_COMMON_DRUGS, rng.choice(sorted(self.book.drugs)), "a drug nobody lists"])

    def _past_days(self, rng: Random, definition: FactDefinition, as_of: date) -> Iterator[date]:
        """Give the days around those with which a date is compared, and two others."""
        near = [c + step for c in self.thresholds.get(definition.id, ()) for step in (-1, 0, 1)]
        yield from (as_of - timedelta(days=days) for days in (*near, 0, 1, rng.randint(0, 1500)))
        fixed = (day + timedelta(days=step) for day in self.fixed_days.get(definition.id, ()) for step in (-1, 0, 1))
        yield from (day for day in fixed if day <= as_of)

    def number(self, rng: Random, definition: FactDefinition) -> object:
        """Draw a number: at a threshold or beside it, at an end of its range, or anywhere in it; rarely outside."""
        low, high = (int(n * 10**definition.scale) for n in definition.range or (Decimal(0), Decimal(0)))
        near = [c + step for c in self.thresholds.get(definition.id, ()) for step in (-1, 0, 1)]
        if rng.random() < 0.01:
            return unscaled(definition, high + 1)
        drawn = rng.choice([*near, low, high, rng.randint(low, high)])
        return unscaled(definition, min(max(drawn, low), high))

    def trials(self, rng: Random, regime: Regime, as_of: date) -> list[Raw]:
        """Draw a list of none to eight trials; half of them are adequate and failed but for what is missing."""
        count = rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6))
        drawn = [self.trial(rng, regime, as_of) for _ in range(count)]
        if rng.random() < _AUGMENTED:
            drawn += [{**self.trial(rng, regime, as_of), **_FAILED_ADJUNCT, "drug": drug} for drug in _ADJUNCTS]
        return drawn

    def trial(self, rng: Random, regime: Regime, as_of: date) -> Raw:
        """Draw one trial."""
        trial: Raw = {}
        is_plain = rng.random() < 0.6
        drug = str(self.value(rng, self.trial_fields["drug"], as_of))
        known = self.book.drugs.get(drug)
        minimum = known.minimum_daily_dose_mg if known else None
        for name, definition in self.trial_fields.items():
            if rng.random() < min(regime.missing, 0.4) / (4 if is_plain else 1):
                continue
            if name == "drug":
                trial[name] = drug
            elif name == "max_dose_mg" and minimum is not None and (is_plain or rng.random() < 0.8):
                steps = (0, 0, 1) if is_plain else (-1, 0, 1)
                trial[name] = unscaled(definition, int(minimum * 100) + rng.choice(steps))
            elif is_plain and name in _FAILED:
                trial[name] = _FAILED[name]
            elif is_plain and name == "weeks_at_adequate_dose":
                trial[name] = rng.choice((4, 5, 6, 6, 8, 8, 8, 12))
            elif is_plain and name in {"start_date", "end_date"}:
                trial[name] = (as_of - timedelta(days=200 if name == "start_date" else 60)).isoformat()
            elif name == "ongoing":
                trial[name] = rng.random() < 0.3
            elif name not in {"rxnorm", "documentation"}:
                trial[name] = self.value(rng, definition, as_of)
        return trial

    def _day(self, rng: Random) -> date:
        if rng.random() < 0.5:
            return TODAY
        if rng.random() < 0.7:
            return rng.choice(self.days) + timedelta(days=rng.choice((-1, 0, 1)))
        return date(2017, 1, 1) + timedelta(days=rng.randint(0, 3650))

    def _situation(self, rng: Random, regime: Regime, as_of: date) -> Raw:
        return {
            name: rng.choice(values) if values else self.value(rng, self.book.facts[name], as_of)
            for name, values in rng.choice(SITUATIONS).items()
            if rng.random() >= regime.missing
        }

    def _observed(self, rng: Random, definition: FactDefinition, value: object, as_of: date) -> Raw:
        limit = definition.valid_for_days or 0
        turns = (age for end in self.alarms.get(definition.id, ()) for age in (end - 1, end))
        age = rng.choice((0, 1, limit - 1, limit, limit + 1, *turns))
        return {"value": value, "date": (as_of - timedelta(days=max(age, 0))).isoformat(), "source": "Observation/1"}


def unscaled(definition: FactDefinition, number: int) -> object:
    """Turn a scaled whole number into what a caller writes."""
    return Decimal(number).scaleb(-definition.scale) if definition.scale else number
