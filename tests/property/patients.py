"""Random patients over the data dictionary, drawn where answers change.

Numbers come from the thresholds of the compiled rules and their neighbours, days of evaluation from the days on which a
rule begins or ends. A patient is a request as a caller writes it. The same seed draws the same patients.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from engine.compiler import form
from engine.compiler.stages import compile_packs
from engine.facts import read_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

    from engine.compiler.packset import PackSet
    from engine.facts import FactDefinition, PatientFacts
    from engine.pack.book import RuleBook

Raw: TypeAlias = dict[str, object]

JURISDICTION = "US"
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
_FAILED: Mapping[str, object] = {
    "adherence": "adherent",
    "outcome": "nonresponse",
    "improvement_pct": 10,
    "role": "mono",
}
_COMMON_DRUGS = ("sertraline", "escitalopram", "venlafaxine", "bupropion", "mirtazapine", "quetiapine", "lithium")


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


@dataclass
class Patients:
    """Draws patients for one rule book."""

    book: RuleBook
    payers: tuple[str | None, ...] = field(init=False)
    thresholds: Mapping[str, tuple[int, ...]] = field(init=False)
    days: tuple[date, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = sorted({p.header.payer for p in self.book.packs.values() if p.header.payer})
        self.payers = (None, *named)
        sets = [compile_packs(self.book, JURISDICTION, payer, TODAY) for payer in self.payers]
        found: dict[str, set[int]] = {}
        for packs in sets:
            for graph in (packs.compiled.graph, *packs.compiled.records.values()):
                for name, constants in thresholds_of(graph).items():
                    found.setdefault(name, set()).update(constants)
        self.thresholds = {name: tuple(sorted(constants)) for name, constants in found.items()}
        self.days = tuple(sorted({day for packs in sets for day in _dates_of(packs)}))
        self.trial_fields = {f.id: f for f in self.book.facts["trials"].fields}

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
            if rng.random() < 0.03 and name in facts:
                facts[name] = self._observed(rng, definition, facts[name], as_of)
        if rng.random() >= regime.missing:
            facts["trials"] = self.trials(rng, regime, as_of)
        if rng.random() < regime.contradicted:
            self._contradict(rng, facts, as_of)
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
                near = [c + step for c in self.thresholds.get(definition.id, ()) for step in (-1, 0, 1)]
                return (as_of - timedelta(days=rng.choice([*near, 0, 1, rng.randint(0, 1500)]))).isoformat()
            case _:
                return rng.choice([*_COMMON_DRUGS, rng.choice(sorted(self.book.drugs)), "a drug nobody lists"])

    def number(self, rng: Random, definition: FactDefinition) -> object:
        """Draw a number: at a threshold or beside it, at an end of its range, or anywhere in it; rarely outside."""
        low, high = (int(n * 10**definition.scale) for n in definition.range or (Decimal(0), Decimal(0)))
        near = [c + step for c in self.thresholds.get(definition.id, ()) for step in (-1, 0, 1)]
        if rng.random() < 0.01:
            return unscaled(definition, high + 1)
        drawn = rng.choice([*near, low, high, rng.randint(low, high)])
        return unscaled(definition, min(max(drawn, low), high))

    def trials(self, rng: Random, regime: Regime, as_of: date) -> list[Raw]:
        """Draw a list of none to six trials; half of them are adequate and failed but for what is missing."""
        count = rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6))
        return [self.trial(rng, regime, as_of) for _ in range(count)]

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

    @staticmethod
    def _observed(rng: Random, definition: FactDefinition, value: object, as_of: date) -> Raw:
        limit = definition.valid_for_days or 0
        age = rng.choice((0, 1, limit - 1, limit, limit + 1))
        return {"value": value, "date": (as_of - timedelta(days=max(age, 0))).isoformat(), "source": "Observation/1"}

    @staticmethod
    def _contradict(rng: Random, facts: Raw, as_of: date) -> None:
        choice = rng.randint(1, 5)
        if choice == 1:
            facts |= {"episode_current": True, "episode_in_remission": True}
        elif choice == 2:
            facts |= {"dx_primary": rng.choice(("mdd_single", "mdd_recurrent")), "bipolar_history": "yes"}
        elif choice == 3:
            facts |= rng.choice(
                (
                    {"concomitant_oral_ad": "yes", "oral_ad_class": "none"},
                    {"concomitant_oral_ad": "no", "oral_ad_class": "snri"},
                )
            )
        elif choice == 4:
            reading = rng.choice((60, 100, 150))
            facts |= {"sbp_mmHg": reading, "dbp_mmHg": reading + rng.choice((0, 1))}
        else:
            trials = facts.get("trials")
            if isinstance(trials, list) and trials:
                rng.choice(trials).update(
                    rng.choice(
                        (
                            {"start_date": as_of.isoformat(), "end_date": (as_of - timedelta(days=1)).isoformat()},
                            {"outcome": "nonresponse", "improvement_pct": 50},
                            {"end_date": (as_of + timedelta(days=1)).isoformat()},
                            {"weeks_at_adequate_dose": 520, "ongoing": True},
                        )
                    )
                )


def unscaled(definition: FactDefinition, number: int) -> object:
    """Turn a scaled whole number into what a caller writes."""
    return Decimal(number).scaleb(-definition.scale) if definition.scale else number


def leaves_of(part: object) -> Iterator[form.Compare | form.OneOf]:
    """Find every comparison with a number or with words anywhere inside a node."""
    if isinstance(part, form.Compare | form.OneOf):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from leaves_of(item)
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        for item in dataclasses.fields(part):
            yield from leaves_of(getattr(part, item.name))


def thresholds_of(graph: form.Graph) -> dict[str, set[int]]:
    """Give, for each node that is compared, the numbers it is compared with."""
    found: dict[str, set[int]] = {}
    for node in graph.nodes:
        for leaf in leaves_of(node):
            if isinstance(leaf, form.Compare):
                found.setdefault(leaf.node, set()).add(leaf.constant)
    return found


def _dates_of(packs: PackSet) -> Iterator[date]:
    for period in packs.periods.values():
        yield from (day for day in (period.from_, period.until) if day)
    for parameter, _ in packs.parameters.values():
        yield from parameter.values
