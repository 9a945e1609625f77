"""Situations that change several facts of a patient at once, and that facts drawn one by one hardly ever make up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from random import Random

SITUATIONS: tuple[Mapping[str, tuple[object, ...]], ...] = (
    {
        "treatment_phase": ("induction", "maintenance"),
        "prior_esketamine": ("ongoing", "responded"),
        "esketamine_start_date": (),
        "benefit_at_week4": (),
    },
    {
        "si_level": ("active_intent_no_plan", "active_plan_and_intent"),
        "psychiatric_emergency_judgement": (True, True, False),
        "concomitant_oral_ad": ("yes", "no", "no"),
        "oral_ad_class": ("none", "ssri"),
    },
    {
        "age_years": (64, 65, 80),
        "psychiatric_emergency_judgement": (True, False),
    },
    {
        "phq9_total": (14, 15, 16, 27),
        "madrs_total": (),
        "hamd17_total": (),
        "qids_total": (),
        "severity_date": (),
        "prescriber_specialty": ("psychiatrist",),
    },
)
"""A running course, a suicidal crisis, old age, a measured severity: for each fact what it may be, () for anything."""


def contradict(rng: Random, facts: dict[str, object], as_of: date) -> None:
    """Make the facts contradict each other, in one of the ways X1 to X5."""
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
