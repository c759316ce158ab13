"""The queue of downloads outlives the program, in its order."""

from __future__ import annotations

from core import store as ops
from core.sources import Source
from core.store.records import MeasuredMemory
from core.store.store import Store

SOURCES = (Source("modelscope", "qwen/Qwen-7B-Chat", "v1.0.5"), Source("huggingface", "Qwen/Qwen-7B-Chat"))


def add(store: Store, name: str) -> int:
    return store.run(lambda s: ops.downloads.add(s, name, SOURCES, "/models", total_bytes=100)).id


def test_what_was_asked_for_is_there_again_as_it_was(store: Store) -> None:
    first = add(store, "a")
    store.run(lambda s: ops.downloads.note_progress(s, first, 40, 120))
    store.run(lambda s: ops.downloads.note_state(s, first, "failed", "disk_full", {"needed": "3 GB", "free": "1 GB"}))
    (kept,) = store.run(lambda s: ops.downloads.all_(s))
    assert (kept.name, kept.sources, kept.models_folder, kept.state) == ("a", SOURCES, "/models", "failed")
    assert (kept.done_bytes, kept.total_bytes) == (40, 120)
    assert (kept.error_code, kept.error_params) == ("disk_full", {"needed": "3 GB", "free": "1 GB"})
    assert kept.ended is None

    store.run(lambda s: ops.downloads.note_state(s, first, "done"))
    (kept,) = store.run(lambda s: ops.downloads.all_(s))
    assert (kept.error_code, kept.ended is None) == ("", False)


def test_the_order_is_the_users(store: Store) -> None:
    a, b, c = (add(store, name) for name in "abc")
    store.run(lambda s: ops.downloads.order(s, [c, a, b, 999]))
    assert [one.name for one in store.run(lambda s: ops.downloads.all_(s))] == ["c", "a", "b"]
    d = add(store, "d")
    store.run(lambda s: ops.downloads.forget(s, [a, 999]))
    assert [one.id for one in store.run(lambda s: ops.downloads.all_(s))] == [c, b, d]


def test_of_what_a_model_took_the_most_is_kept_for_each_way_of_loading_it(store: Store) -> None:
    def note(size: int, weights: str) -> MeasuredMemory | None:
        measured = MeasuredMemory(size, 100, weights, "plain", "cpu")
        store.run(lambda s: ops.models.note_memory(s, "starter", measured))
        return store.run(lambda s: ops.models.known(s))[0].measured

    store.run(lambda s: ops.models.remember(s, "starter", "/models/starter"))
    store.run(lambda s: ops.models.note_memory(s, "never heard of", MeasuredMemory(1, 1, "int8", "plain", "cpu")))
    assert note(500, "bfloat16").bytes == 500
    assert note(400, "bfloat16").bytes == 500
    assert note(300, "int8").bytes == 300
