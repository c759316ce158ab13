"""Tables that were measured: their results in order, and whose they are."""

from __future__ import annotations

import msgspec
import pytest

from core import store as ops
from core.profiling.plan import Case, ProfilePlan, Subject
from core.store import owner
from core.store.store import Store
from tests.helpers.fake_profile_worker import SAMPLES, result
from tests.helpers.refusals import refused

PLAN = ProfilePlan((Subject("m", "/m"),), ("int8", "bfloat16"), cases=(Case(4, 4), Case(8, 4)))


def test_results_stand_in_the_order_of_the_table_without_timelines(store: Store) -> None:
    from core.profiling.plan import cells_of

    run = store.run(lambda s: ops.profiles.create(s, "t", PLAN, "card"))
    assert (run.state, run.cells, run.measured) == ("running", 4, 0)
    for cell in reversed(cells_of(PLAN)):
        store.run(lambda s, cell=cell: ops.profiles.put(s, run.id, result(cell)))  # type: ignore[misc]
    found = store.run(lambda s: ops.profiles.results(s, run.id))
    assert [one.cell for one in found] == list(cells_of(PLAN))
    assert found[0].timeline.samples == ()
    assert store.run(lambda s: ops.profiles.timeline(s, run.id, found[0].cell.key)).samples == SAMPLES
    store.run(lambda s: ops.profiles.put(s, run.id, result(found[0].cell, speed=7)))
    again = store.run(lambda s: ops.profiles.results(s, run.id))
    assert len(again) == 4 and again[0].inference is not None and again[0].inference.decode_tokens_per_s == 7
    ended = store.run(lambda s: ops.profiles.end(s, run.id, "done"))
    assert ended.state == "done" and ended.ended is not None and ended.plan == PLAN
    store.run(lambda s: ops.profiles.forget(s, run.id))
    assert store.run(lambda s: ops.profiles.recent(s)) == []
    assert store.run(lambda s: ops.profiles.timeline(s, run.id, found[0].cell.key)).samples == ()


def test_what_another_front_measures_is_not_touched_and_no_second_table_is_begun(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.run(lambda s: ops.profiles.create(s, "t", PLAN, "card"))
    other = store.run(lambda s: ops.profiles.create(s, "t", PLAN, "card"))
    store.run(lambda s: ops.profiles.end(s, other.id, "cancelled"))
    monkeypatch.setattr(owner, "here", lambda: (1, 2.0))  # somebody else, while we are alive
    with refused("profile_elsewhere"):
        store.run(lambda s: ops.profiles.forget(s, run.id))
    with refused("profile_busy_elsewhere"):
        store.run(lambda s: ops.profiles.create(s, "t", PLAN, "card"))
    with refused("profile_busy_elsewhere"):
        store.run(lambda s: ops.profiles.take(s, other.id))
    store.run(lambda s: ops.profiles.forget(s, other.id))
    store.run(lambda s: ops.profiles.end(s, run.id, "done"))
    store.run(lambda s: ops.profiles.forget(s, run.id))
    assert store.run(ops.profiles.recent) == []


def test_cells_that_were_tried_in_vain_are_told_apart(store: Store) -> None:
    from core.profiling.plan import cells_of

    run = store.run(lambda s: ops.profiles.create(s, "t", PLAN, "card"))
    for cell, state in zip(cells_of(PLAN), ("done", "failed", "out_of_memory", "not_run"), strict=True):
        one = msgspec.structs.replace(result(cell), state=state)
        store.run(lambda s, one=one: ops.profiles.put(s, run.id, one))  # type: ignore[misc]
    told = store.run(lambda s: ops.profiles.get(s, run.id))
    assert (told.measured, told.lost, told.cells) == (1, 2, 4)


def test_a_table_whose_front_died_can_be_taken_over_and_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "here", lambda: (999_999_999, 1.0))  # a process that is no more
    run = store.run(lambda s: ops.profiles.create(s, "t", PLAN, "card"))
    monkeypatch.undo()
    assert store.run(lambda s: ops.profiles.get(s, run.id)).state == "interrupted"
    assert store.run(lambda s: ops.profiles.take(s, run.id)).state == "running"
    monkeypatch.setattr(owner, "here", lambda: (1, 2.0))  # somebody else, while we are alive
    with refused("profile_elsewhere"):
        store.run(lambda s: ops.profiles.take(s, run.id))
    store.run(lambda s: ops.profiles.end(s, run.id, "done"))
    with refused("profile_done"):
        store.run(lambda s: ops.profiles.take(s, run.id))
    with refused("profile_gone"):
        store.run(lambda s: ops.profiles.get(s, 77))
