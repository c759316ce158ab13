"""Guessing from the text changes how long a reply takes, never what it says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.chat.turns import Sampling
from core.inference import prompt_lookup
from core.inference.dense import DenseDecoder
from core.inference.engine import Ended, Engine, NewToken, PromptReady, Step
from core.inference.prompt_lookup import GUESSED, REST, Lookup, Pace, Seen
from core.models.quantised import at_load
from core.models.quantised.choice import pack
from tests.helpers import tiny_models

CONTEXT = 256
PROMPT = [20, 21, 22, 23, 20, 21, 24, 25, 30, 31]


@lru_cache
def model(name: str, kind: str = "") -> Any:
    made = tiny_models.model(name, torch.bfloat16 if kind else torch.float32)
    if kind == "int8":
        at_load.quantise(made, "int8", torch.device("cpu"), torch.bfloat16, lambda done, total: None)
        DenseDecoder(made, CONTEXT, is_exact=False)
        pack(made, torch.bfloat16)
    return made


class Counting(DenseDecoder):
    """How many rows each pass had."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rows: list[int] = []

    def verify(self, ids: Sequence[int], cache: Any) -> Tensor:
        self.rows.append(len(ids))
        return super().verify(ids, cache)


def guessing(name: str = "qwen3", kind: str = "") -> Counting:
    return Counting(model(name, kind), CONTEXT, is_exact=False)


class Single(DenseDecoder):
    def can_verify(self, cache: Any) -> bool:
        return False


def plain(name: str = "qwen3", kind: str = "") -> DenseDecoder:
    return Single(model(name, kind), CONTEXT, is_exact=False)


def greedy(most: int = 60) -> Sampling:
    return Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=most)


def run(decoder: Any, prompt: list[int] = PROMPT, sampling: Sampling | None = None, **options: Any) -> list[Step]:
    return list(Engine(decoder, CONTEXT).generate(prompt, sampling or greedy(), **options))


def test_where_passes_are_timed_nothing_is_guessed() -> None:
    decoder = guessing()
    steps = list(Engine(decoder, CONTEXT, may_guess=False).generate(PROMPT, greedy()))
    assert ids(steps) == ids(run(plain())) and not decoder.rows
    assert isinstance(steps[-1], Ended) and steps[-1].passes == 59


def ids(steps: list[Step]) -> list[int]:
    return [step.id for step in steps if isinstance(step, NewToken)]


@pytest.fixture(autouse=True)
def free_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing is always worth it, whatever this machine does meanwhile."""
    monkeypatch.setattr(prompt_lookup._Costs, "extra", 0.0)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_the_reply_is_that_of_single_steps(name: str) -> None:
    decoder = guessing(name)
    found, expected = run(decoder), run(plain(name))
    assert ids(found) == ids(expected)
    end = found[-1]
    assert isinstance(end, Ended) and end == Ended("length", 60)
    assert end.passes == len(decoder.rows)
    if name == "qwen3":  # which repeats itself
        assert end.passes < 59 and max(decoder.rows) == 1 + GUESSED


@given(prompt=st.lists(st.integers(20, 25), min_size=2, max_size=60), most=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_whatever_was_said_before(prompt: list[int], most: int) -> None:
    assert ids(run(guessing(), prompt, greedy(most))) == ids(run(plain(), prompt, greedy(most)))


def test_where_the_choice_is_not_greedy_nothing_is_guessed() -> None:
    for changes in ({"temperature": 0.8, "seed": 3}, {"repetition_penalty": 1.1}):
        decoder = guessing()
        sampling = Sampling(**({"temperature": 0.0, "max_new_tokens": 20, "repetition_penalty": 1.0} | changes))
        assert ids(run(decoder, sampling=sampling)) == ids(run(plain(), sampling=sampling))
        assert not decoder.rows


def test_nor_where_the_same_ids_as_transformers_are_asked_for() -> None:
    decoder = Counting(model("qwen3"), CONTEXT, is_exact=True)
    run(decoder)
    assert not decoder.rows


def test_a_stop_a_full_context_and_the_next_turn() -> None:
    said = ids(run(plain()))
    engines = [Engine(guessing(), CONTEXT), Engine(plain(), CONTEXT)]
    turns = [list(engine.generate(PROMPT, greedy(), stop_ids={said[40]})) for engine in engines]
    assert turns[0][-1] == turns[1][-1] and ids(turns[0]) == ids(turns[1])
    more = PROMPT + ids(turns[0]) + [5]
    again = [list(engine.generate(more, greedy())) for engine in engines]
    assert ids(again[0]) == ids(again[1])
    assert [step for step in again[0] if isinstance(step, PromptReady)] == [PromptReady(len(more), len(more) - 1)]
    long = [20, 21] * ((CONTEXT - 10) // 2)
    assert run(guessing(), long, greedy(100))[-1] == run(plain(), long, greedy(100))[-1]


def test_a_cancel_between_verified_tokens_leaves_what_was_said() -> None:
    for after in range(20, 30):
        engine, asked = Engine(guessing(), CONTEXT), count()
        seen = list(
            engine.generate(PROMPT, greedy(), is_cancelled=lambda asked=asked, after=after: next(asked) > after)
        )
        more = PROMPT + ids(seen) + [5]
        assert ids(list(engine.generate(more, greedy(10)))) == ids(run(plain(), more, greedy(10)))


@pytest.mark.parametrize("kind", ["int8", "bf16"])
def test_where_rows_round_otherwise_the_replies_part_only_at_near_ties(kind: str) -> None:
    """Products of 8 bits round one row in 6 bits and its rest, several in 7: the two best logits must nearly tie."""
    found, expected = (ids(run(decoder)) for decoder in (guessing("qwen3", kind), plain("qwen3", kind)))
    parted = next((at for at, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b), None)
    if parted is None:
        return
    decoder = plain("qwen3", kind)
    cache = decoder.new_cache()
    for _ in decoder.read(PROMPT + expected[: parted - 1], cache):
        pass
    logits = decoder.step(expected[parted - 1], cache).float() if parted else decoder.step(PROMPT[-1], cache).float()
    gap = float(logits[expected[parted]] - logits[found[parted]])
    assert gap < 0.05 * float(logits.std())


class Rounding:
    """Says 0, 1, 2, 0, 1, 2 and so on; after a 2, several rows at once round so that 3 is as good as 0, and better."""

    def __init__(self) -> None:
        self.length = 6
        self.tied = 0

    def can_verify(self, cache: Any) -> bool:
        return True

    def crop(self, length: int) -> None:
        self.length = length

    def verify(self, ids: Sequence[int], cache: Any) -> Tensor:
        self.length += len(ids)
        logits = torch.randn(len(ids), 50, generator=torch.Generator().manual_seed(0))
        for row, id in enumerate(ids):
            logits[row, (id + 1) % 3] = 20.0
            if id == 2 and len(ids) > 1:
                logits[row, 3] = 20.001
                self.tied += 1
        return logits


def test_a_near_tie_is_decided_by_a_single_step() -> None:
    decoder = Rounding()
    lookup, said, passes = Lookup(decoder, decoder, [0, 1, 2, 0, 1, 2, 0], rows=0, most=400), list[int](), 0
    while len(said) < 90:
        said += lookup.take()
        passes += 1
    assert said[:90] == [1, 2, 0] * 30
    assert decoder.tied and passes < 75


def test_of_three_ids_the_longest_and_latest_match_counts() -> None:
    seen = Seen([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3])
    assert seen.guess(2) == [4, 9]  # after 1 2 3; after 2 3 alone it would be 5
    seen.add(5)
    assert seen.guess(3) == [1, 2, 3]
    assert Seen([1, 2]).guess(3) == [] == Seen([]).guess(3)


def test_guesses_that_fail_are_given_up_and_tried_again_later() -> None:
    pace = Pace(3, extra_cost=0.3)
    tried = 0
    while pace.guesses():
        pace.note(3, 0)
        tried += 1
    assert 10 < tried < 25
    assert [pace.guesses() for _ in range(REST)] == [0] * (REST - 1) + [0]
    assert pace.guesses() == 3
    pace.note(3, 3)
    assert pace.guesses() == 3


def test_where_several_rows_cost_too_much_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    decoder, cache = guessing(), None
    cache = decoder.new_cache(len(PROMPT))
    for _ in decoder.read(PROMPT, cache):
        pass
    now = [0.0]

    def clock() -> float:
        """Of two readings for each pass, the second is later by what its rows cost: as much each as a single one."""
        if len(decoder.rows) > clock.seen:  # type: ignore[attr-defined]
            clock.seen = len(decoder.rows)  # type: ignore[attr-defined]
            now[0] += 5.0 * decoder.rows[-1] if decoder.rows[-1] > 1 else 1.0
        return now[0]

    clock.seen = 0  # type: ignore[attr-defined]
    lookup = Lookup(decoder, cache, [*PROMPT, 20], rows=0, most=CONTEXT, clock=clock)
    said: list[int] = []
    while len(said) < 100:
        said += lookup.take()
    assert sum(rows > 1 for rows in decoder.rows) <= 3
