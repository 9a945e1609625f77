"""The trials against the episode: what the engines concluded, and dates as they were recorded or as unknown."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluator.agree import Evaluator
from engine.page.timeline import History, Trial, draw
from tests.unit.clinician_views import load_book, read_case, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAILED = {
    "drug": "sertraline",
    "max_dose_mg": 150,
    "weeks_at_adequate_dose": 9,
    "outcome": "nonresponse",
    "adherence": "adherent",
    "ongoing": False,
    "start_date": "2024-03-01",
    "end_date": "2024-06-01",
}
AS_OF = date(2025, 1, 10)


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    with closing(Evaluator(load_book(), "interpret")) as made:
        yield made


@pytest.fixture(scope="module")
def read(evaluator: Evaluator) -> Callable[..., History]:
    """Give a function that puts these trials into words, beside the other facts of a made-up patient."""

    def history(*trials: object, **facts: object) -> History:
        case = read_case("dated")
        given = {**dict(case["facts"]), "trials": list(trials), **facts}  # type: ignore[call-overload]
        made = view_of(evaluator, case, given).history
        assert made is not None
        return made

    return history


def test_a_missing_list_has_no_history_and_an_empty_one_has_no_trials(evaluator: Evaluator) -> None:
    case = read_case("dated")
    known = dict(case["facts"])  # type: ignore[call-overload]

    assert view_of(evaluator, case, {**known, "trials": None}).history is None
    assert view_of(evaluator, case, {**known, "trials": []}).history == History(
        AS_OF, date(2024, 2, 10), is_complete=True, trials=()
    )


def test_a_trial_that_failed_counts_in_the_words_of_the_dictionary(read: Callable[..., History]) -> None:
    trial = read(FAILED).trials[0]

    assert (trial.counts, trial.because) == ("met", ())
    assert (trial.drug, trial.dose, trial.weeks) == ("sertraline", "150 mg a day", "9 weeks")
    assert (trial.outcome, trial.adherence) == ("no response", "adherent")
    assert (trial.began, trial.ended, trial.is_ongoing) == (date(2024, 3, 1), date(2024, 6, 1), False)


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"max_dose_mg": 25}, "Dose below the minimum"),
        ({"weeks_at_adequate_dose": 3}, "Too few weeks"),
        ({"adherence": "nonadherent"}, "Not taken as prescribed"),
        ({"outcome": "remission"}, "Response or remission"),
    ],
)
def test_a_trial_that_does_not_count_says_by_which_criterion(
    read: Callable[..., History], change: dict[str, object], because: str
) -> None:
    trial = read({**FAILED, **change}).trials[0]

    assert trial.counts == "not_met"
    assert because in trial.because


@pytest.mark.parametrize(
    ("field", "label"),
    [
        ("drug", "drug"),
        ("max_dose_mg", "highest daily dose"),
        ("weeks_at_adequate_dose", "weeks at an adequate dose"),
        ("adherence", "adherence"),
        ("end_date", "end of the trial"),
    ],
)
def test_a_trial_that_cannot_be_judged_names_what_is_not_recorded(
    read: Callable[..., History], field: str, label: str
) -> None:
    trial = read({name: value for name, value in FAILED.items() if name != field}).trials[0]

    assert trial.counts == "unknown"
    assert any(said.startswith("not recorded: ") and label in said for said in trial.because)


def test_what_another_field_already_settles_is_not_asked_for(read: Callable[..., History]) -> None:
    settled = read({k: v for k, v in FAILED.items() if k != "adherence"} | {"outcome": "remission"}).trials[0]
    unplaced = read(FAILED, episode_start_date=None)

    assert settled.counts == "not_met"
    assert unplaced.episode_start is None
    assert unplaced.trials[0].because == ("not recorded: start of the current episode",)


def test_a_trial_that_contradicts_itself_cannot_be_judged(read: Callable[..., History]) -> None:
    trial = read({**FAILED, "start_date": "2024-07-01"}).trials[0]

    assert trial.counts == "unknown"
    assert trial.because


def test_the_same_drug_again_adds_nothing(read: Callable[..., History]) -> None:
    again = {**FAILED, "start_date": "2024-07-01", "end_date": "2024-12-01"}
    first, second = read(FAILED, again).trials

    assert first.counts == "met"
    assert (second.counts, second.because) == ("not_met", ("The same antidepressant again",))
    other = read(FAILED, {**again, "drug": "venlafaxine", "max_dose_mg": 225}).trials[1]
    assert other.counts == "met"


# On the line of time


def trial(began: date | None, ended: date | None, *, is_ongoing: bool | None = False) -> Trial:
    return Trial("x", "", "", "", "", "", "", "", began, ended, is_ongoing, "unknown", ())


def history(*trials: Trial, episode_start: date | None = date(2024, 1, 1)) -> History:
    return History(AS_OF, episode_start, None, trials)


def test_known_dates_are_drawn_to_scale() -> None:
    chart = draw(history(trial(date(2024, 1, 1), date(2024, 7, 8)), trial(date(2024, 7, 8), None, is_ongoing=True)))

    assert chart is not None
    first, second = chart.lanes
    assert first.x == 0.0
    assert first.width == pytest.approx(50.4, abs=0.2)
    assert second.x == first.width
    assert second.x + second.width == pytest.approx(100)
    assert not first.note
    assert not second.note
    assert chart.episode_x == 0.0
    assert first.y < second.y < chart.height


def test_an_end_that_is_not_recorded_is_a_stub_that_says_so() -> None:
    whole = trial(date(2024, 1, 1), date(2024, 12, 1))
    chart = draw(history(whole, trial(date(2024, 3, 1), None), trial(None, date(2024, 3, 1)), trial(None, None)))

    assert chart is not None
    _, no_end, no_beginning, nothing = chart.lanes
    assert (no_end.is_open_right, no_end.note) == (True, "end not recorded")
    assert (no_beginning.is_open_left, no_beginning.note) == (True, "beginning not recorded")
    assert no_end.width == no_beginning.width < 10
    assert (nothing.width, nothing.note) == (0.0, "dates not recorded")


def test_whether_it_is_still_taken_is_never_guessed() -> None:
    chart = draw(history(trial(date(2024, 3, 1), None, is_ongoing=None)))

    assert chart is not None
    assert chart.lanes[0].is_open_right


def test_dates_that_contradict_each_other_are_not_drawn() -> None:
    chart = draw(history(trial(date(2024, 7, 1), date(2024, 3, 1))))

    assert chart is not None
    assert (chart.lanes[0].width, chart.lanes[0].note) == (0.0, "its end lies before its beginning")


def test_without_a_date_there_is_nothing_to_draw() -> None:
    assert draw(history(trial(None, None))) is None
    assert draw(history()) is None


def test_an_unknown_episode_is_not_drawn() -> None:
    chart = draw(history(trial(date(2024, 3, 1), date(2024, 5, 1)), episode_start=None))

    assert chart is not None
    assert chart.episode_x is None


@given(
    dates=st.lists(st.tuples(*[st.none() | st.dates(date(1950, 1, 1), AS_OF)] * 2), min_size=1, max_size=6),
    start=st.none() | st.dates(date(1950, 1, 1), AS_OF),
)
def test_nothing_lies_outside_the_chart(dates: list[tuple[date | None, date | None]], start: date | None) -> None:
    chart = draw(history(*(trial(*pair) for pair in dates), episode_start=start))

    if chart is None:
        assert not any(day for pair in dates for day in pair)
        return
    assert all(0 <= lane.x <= 100 for lane in chart.lanes)
    assert all(lane.x + lane.width <= 106 for lane in chart.lanes), "a stub may lose its end"
    assert all(0 <= x <= 85 for x, _ in chart.ticks), "a label has room at its right"
    assert len(chart.ticks) <= 6
