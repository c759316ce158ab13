"""A conversation of ten thousand messages: bounds far above the figures, which benchmarks/store.py measures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from core import store as ops
from core.store.store import Store

COUNT = 10_000
LOOSE = 6  # times what the figures must be: this machine may be busy


def ten_thousand() -> bytes:
    made = {"format": "qwen-workbench-conversation", "version": 1, "title": "long", "model": "m", "system_prompt": ""}
    made |= {"sampling": {}, "preset": "", "thinking": None, "created": "2026-01-01T00:00:00Z", "leaf": COUNT}
    messages = [
        {
            "id": i,
            "parent": i - 1 or None,
            "role": "user" if i % 2 else "assistant",
            "text": f"message {i}: attention 人工智能模型 " + "of keys and values " * 20,
            "created": "2026-01-01T00:00:00Z",
            "figures": None
            if i % 2
            else {"prompt_tokens": 1, "new_tokens": 2, "first_token_s": 0.1, "tokens_per_s": 9},
        }
        for i in range(1, COUNT + 1)
    ]
    return json.dumps(made | {"messages": messages}).encode()


def fastest_ms(work: Callable[[], object]) -> float:
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - begun))
    return min(took)


@pytest.fixture
def long(store: Store) -> int:
    data = ten_thousand()
    return store.run(lambda s: ops.transfer.from_json(s, data)).id


def test_a_very_long_conversation_opens_and_is_searched_in_no_time(store: Store, long: int) -> None:
    branch = store.run(lambda s: ops.messages.branch(s, long))
    assert [m.text.split(":")[0] for m in branch] == [f"message {i}" for i in range(1, COUNT + 1)]
    assert branch[-1].figures is not None and branch[0].figures is None

    assert fastest_ms(lambda: store.run(lambda s: ops.messages.branch(s, long))) < 150 * LOOSE
    for query, found in (("attention", 50), ("智能", 50), ("values attention", 50), ("9999", 1), ("nothing", 0)):
        hits = store.run(lambda s, q=query: ops.search.everything(s, q))
        assert len(hits) == found
        assert fastest_ms(lambda q=query: store.run(lambda s: ops.search.everything(s, q))) < 50 * LOOSE
    assert fastest_ms(lambda: store.run(lambda s: ops.messages.switch(s, 1, 0))) < 150 * LOOSE
