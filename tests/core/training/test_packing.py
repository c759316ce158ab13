"""The plan of a run: every row once an epoch, the same from wherever it is asked, ranks that stay together."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from core.training.packing import Plan

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(1, 800), st.integers(0, 3), st.booleans(), st.integers(1, 3))
def test_each_step_is_learned_from_once(
    lengths: list[int], batch: int, most: int, seed: int, packs: bool, ranks: int
) -> None:
    plan = Plan(lengths, batch, most, seed, packs)
    drawn: list[int] = []
    for step in range(8):
        shares = [plan.passes(step, rank, ranks) for rank in range(ranks)]
        assert len({len(share) for share in shares}) == 1  # ranks wait for each other in every pass
        rows = sorted(row for share in shares for one in share for row in one)
        assert rows == sorted(plan.rows(step))
        for one in (one for share in shares for one in share if len(one) > 1):
            widths = [lengths[row] for row in one]
            assert (sum(widths) if packs else max(widths) * len(widths)) <= most
        drawn += plan.rows(step)
    whole = len(drawn) // len(lengths) * len(lengths)
    for first in range(0, whole, len(lengths)):
        assert sorted(drawn[first : first + len(lengths)]) == list(range(len(lengths)))


def test_epochs_differ_and_seeds_too() -> None:
    plan, other = Plan([10] * 32, 32, 100, 0), Plan([10] * 32, 32, 100, 1)
    assert plan.rows(0) != plan.rows(1) and plan.rows(0) != other.rows(0)
    assert plan.rows(3) == Plan([10] * 32, 32, 100, 0).rows(3)
