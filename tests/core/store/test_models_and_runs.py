"""What the store remembers of models and training runs."""

from __future__ import annotations

import pytest

from core import store as ops
from core.errors import UserError
from core.store.records import RunMetric
from core.store.store import Store


def test_models_are_listed_by_last_use_and_forgotten_by_name(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.run(lambda s, name=name: ops.models.remember(s, name, f"/models/{name}"))
    store.run(lambda s: ops.models.note_use(s, "c"))
    store.run(lambda s: ops.models.note_use(s, "never heard of"))
    assert [m.name for m in store.run(lambda s: ops.models.known(s))] == ["c", "a", "b"]

    moved = store.run(lambda s: ops.models.remember(s, "c", "/elsewhere/c"))
    assert (moved.folder, moved.last_used is None) == ("/elsewhere/c", False)
    store.run(lambda s: ops.models.forget(s, "c"))
    store.run(lambda s: ops.models.forget(s, "c"))
    assert [m.name for m in store.run(lambda s: ops.models.known(s))] == ["a", "b"]


def test_a_run_is_summed_up(store: Store) -> None:
    run = store.run(lambda s: ops.runs.create(s, "first", "/runs/1", "starter", steps=100))
    for step, loss in ((1, 3.0), (2, 1.0), (3, float("nan")), (4, 2.0)):
        store.run(lambda s, step=step, loss=loss: ops.runs.note_metrics(s, run.id, step, {"loss": loss}))
    store.run(lambda s: ops.runs.update(s, run.id, state="paused", step=4))
    (found,) = store.run(lambda s: ops.runs.recent(s))
    assert (found.state, found.step, found.steps) == ("paused", 4, 100)
    assert store.run(lambda s: ops.runs.metrics(s, run.id)) == [RunMetric("loss", 4, 2.0, 1.0, 3.0)]

    store.run(lambda s: ops.runs.forget(s, run.id))
    assert store.run(lambda s: ops.runs.metrics(s, run.id)) == []
    with pytest.raises(UserError):
        store.run(lambda s: ops.runs.update(s, run.id, step=5))
