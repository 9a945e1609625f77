"""Words for what the rules say in keys: effects, periods, reviews. No clinical statement is made here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.compiler.levels import STATUS_OF_LEVEL, level_of
from engine.page.environment import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.pack.model import Criterion, Period


@dataclass(frozen=True, slots=True)
class Effect:
    """What criteria of one effect are called together, and what one does while it is met and while it is unknown."""

    heading: str
    met: str
    unknown: str


_ASKED = "Silent; what is missing is asked for."
_LACKING = "There is not enough data for an answer."

EFFECTS: Mapping[str, Effect] = {
    "indicates": Effect(
        "Indications",
        "It counts as an indication.",
        "There is not enough data for an answer, unless another indication is met.",
    ),
    "requires": Effect("What has to be known", "Nothing is lacking.", _LACKING),
    "contraindicates": Effect("Contraindications", "The option is contraindicated.", _ASKED),
    "excludes": Effect("Exclusions", "The option is not indicated.", _ASKED),
    "advises_against": Effect("Hazards that speak against it", "The option is not recommended.", _ASKED),
    "defers": Effect("Reasons to wait", "The option is deferred.", _ASKED),
    "cautions": Effect("Precautions", "The option is at best eligible with precautions.", _ASKED),
    "triages": Effect("Triage of suicide risk", "The triage reaches its level.", "It is asked for."),
    "plans": Effect("Plan", "It joins the plan.", "It is left out of the plan."),
    "shows": Effect("Shown beside the answer", "It is shown beside a positive or deferred answer.", "It is not shown."),
    "reports": Effect("Reported with the answer", "Its id joins the criteria of the answer.", "It is not reported."),
    "concludes": Effect("Conclusions", "It says what other criteria come to together.", "It has no condition."),
    "discounts": Effect("Trials that do not count", "The trial is not counted.", "Whether it counts is unknown."),
    "covers": Effect("What the payer covers", "The payer covers the option.", _LACKING),
    "denies": Effect("What the payer does not cover", "The payer does not cover the option.", _LACKING),
    "asks_approval": Effect(
        "Prior approval", "The payer asks for prior approval, whatever the clinical status.", _LACKING
    ),
    "withholds": Effect("Cover withheld", "The conditions for cover are not met.", "It has no condition."),
    "defines": Effect("Definitions", "It documents a definition and is never evaluated.", "It has no condition."),
}
"""Every effect, in the order in which groups of criteria are shown."""

NO_OPTION: Mapping[str, str] = {"triages": "Suicide risk", "discounts": "Antidepressant trials"}
"""Headings of criteria that belong to no option."""


def in_words(criterion: Criterion) -> Effect:
    """Say what a criterion does, its own keys taken into account."""
    effect = EFFECTS[criterion.effect]
    met, unknown = effect.met, effect.unknown
    match criterion.effect:
        case "excludes":
            met = f"{met} This is judged with the {criterion.level or 'population'}."
        case "indicates" if criterion.gives:
            met = f"Without another indication the answer is {words(criterion.gives)}."
        case "triages":
            met = f"The triage is at least at the level {words(criterion.level)}."
        case "plans":
            met = f"The plan holds {words(criterion.plan)}."
        case "shows":
            shown = f"shown as {words(criterion.as_)} beside a positive or deferred answer."
            met, unknown = f"It is {shown}", "It is not shown."
        case "discounts" if criterion.gives:
            met = "Whether the trial counts is unknown."
        case "covers" if criterion.prior_approval_if:
            met = f"{met} Prior approval is needed where a concept says so."
        case "withholds":
            met = f"Cover is withheld while the option is {', '.join(map(words, criterion.statuses))}."
    if criterion.shown_if == "unknown":
        met, unknown = effect.unknown, met
    if criterion.before_status:
        met = f"{met} This is judged before the clinical status."
    return Effect(effect.heading, met, unknown)


def status_of(criterion: Criterion) -> str:
    """Name the status to which a criterion holds an option down; empty if it holds none."""
    level = level_of(criterion)
    return STATUS_OF_LEVEL[level] if level else ""


def period_in_words(period: Period) -> str:
    """Say when something holds; the day after `until` is the first on which it does not."""
    days = [f"from {period.from_.isoformat()}"] if period.from_ else []
    days += [f"until {period.until.isoformat()}"] if period.until else []
    return " ".join(days) or "always"
