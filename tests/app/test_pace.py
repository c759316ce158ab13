"""The time that is left of a run."""

from __future__ import annotations

import pytest

from app.services.pace import Pace, of_steps

USUAL = {"seconds": 2.0, "tokens": 1000.0}


def pace(*steps: dict[str, float]) -> Pace:
    return of_steps(enumerate(steps, 1))


def test_one_slow_step_moves_nothing() -> None:
    steady = pace(*[USUAL] * 20).seconds_for(100)
    assert steady == pytest.approx(200.0)
    assert pace(*[USUAL] * 12, {"seconds": 90.0, "tokens": 1000.0}, *[USUAL] * 3).seconds_for(100) == steady
    assert pace({"seconds": 30.0, "tokens": 1000.0}, USUAL, USUAL).seconds_for(100) == steady  # the first one of all


def test_what_comes_between_steps_is_no_step() -> None:
    known = pace(*[USUAL] * 5)
    assert known.after({"eval_loss": 1.0}) == known  # figures without a time


def test_steps_count_by_their_tokens() -> None:
    short, long = {"seconds": 1.0, "tokens": 100.0}, {"seconds": 4.0, "tokens": 2000.0}
    mixed = pace(*[short, long] * 6)
    assert mixed.seconds_for(10, tokens_of_step=1000.0) == pytest.approx(10 * 1000 * 4 / 2000)


def test_old_steps_are_forgotten_and_without_any_nothing_is_said() -> None:
    faster = {"seconds": 0.5, "tokens": 1000.0}
    assert pace(*[USUAL] * 50, *[faster] * 20).seconds_for(8) == pytest.approx(4.0)
    assert Pace().seconds_for(8) is None
    assert pace(*[{"seconds": 3.0}] * 4).seconds_for(2, tokens_of_step=500.0) == pytest.approx(6.0)  # tokens not told
