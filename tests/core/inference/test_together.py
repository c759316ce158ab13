"""Sequences that are generated at the same time are stepped in one pass and answer as they would alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.chat.turns import Sampling
from core.inference.choice import choose, choose_with_adapters
from core.inference.engine import Ended, Engine, NewToken
from core.models.native.library import library
from core.models.quantised import at_load
from tests.helpers import tiny_adapters, tiny_models
from tests.helpers.tiny_models import CONTEXT

GREEDY = Sampling(temperature=0, top_p=1, top_k=0, repetition_penalty=1, max_new_tokens=12)
PROMPTS = [list(range(start, start + 5 + start % 3)) for start in (20, 90, 160, 300)]


def quantised(name: str = "qwen3") -> Any:
    model = tiny_models.model(name, torch.bfloat16)
    at_load.quantise(model, "int8", torch.device("cpu"), torch.bfloat16, lambda done, total: None)
    return model


class Watched:
    """A decoder that notes how many steps each pass took."""

    def __init__(self, decoder: Any) -> None:
        self._decoder, self.passes = decoder, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def step(self, id: int, cache: Any) -> Tensor:
        self.passes.append(1)
        logits: Tensor = self._decoder.step(id, cache)
        return logits

    def step_together(self, tokens: Sequence[tuple[int, Any]]) -> list[Tensor]:
        self.passes.append(len(tokens))
        found: list[Tensor] = self._decoder.step_together(tokens)
        return found


def alone(engine: Engine, prompt: list[int], **options: Any) -> list[int]:
    return [step.id for step in engine.generate(prompt, GREEDY, **options) if isinstance(step, NewToken)]


def in_turn(runs: list[Any]) -> list[list[int]]:
    """As the worker does it: each generation is stepped when its turn has come."""
    found: list[list[int]] = [[] for _ in runs]
    open_runs = dict(enumerate(runs))
    while open_runs:
        for number, run in list(open_runs.items()):
            step = next(run, None)
            if isinstance(step, NewToken):
                found[number].append(step.id)
            elif isinstance(step, Ended):
                del open_runs[number]
    return found


@pytest.mark.skipif(library() is None, reason="no compiler here")
def test_they_share_passes_and_answer_as_alone() -> None:
    decoder = Watched(choose(quantised(), CONTEXT, is_exact=False))
    expected = [alone(Engine(decoder, CONTEXT), prompt) for prompt in PROMPTS]
    decoder.passes.clear()
    engine = Engine(decoder, CONTEXT)
    assert in_turn([engine.generate(prompt, GREEDY) for prompt in PROMPTS]) == expected
    assert max(decoder.passes) == len(PROMPTS) and len(decoder.passes) < 2 * GREEDY.max_new_tokens


@pytest.mark.skipif(library() is None, reason="no compiler here")
def test_logits_are_the_very_same_whoever_is_computed_beside() -> None:
    decoder: Any = choose(quantised("qwen2"), CONTEXT, is_exact=False)
    caches = [decoder.new_cache(len(prompt)) for prompt in PROMPTS for _ in range(2)]
    for prompt, cache in zip([prompt for prompt in PROMPTS for _ in range(2)], caches, strict=True):
        for _ in decoder.read(prompt, cache):
            pass
    together = decoder.step_together([(7 + number, cache) for number, cache in enumerate(caches[::2])])
    single = [decoder.step(7 + number, cache) for number, cache in enumerate(caches[1::2])]
    assert all(torch.equal(one, other) for one, other in zip(together, single, strict=True))


def test_sequences_with_adapters_and_without_are_not_mixed_up(tmp_path: Path) -> None:
    folders = [
        str(tiny_adapters.write(tmp_path / str(seed), tiny_models.model("qwen2"), seed=seed, target_modules=["q_proj"]))
        for seed in (1, 2)
    ]
    adapters = ["", folders[0], folders[1], folders[0]]
    decoder = choose_with_adapters(tiny_models.model("qwen2"), CONTEXT, is_exact=False)
    expected = [
        alone(Engine(decoder, CONTEXT), prompt, adapter=adapter)
        for prompt, adapter in zip(PROMPTS, adapters, strict=True)
    ]
    engine = Engine(decoder, CONTEXT)
    runs = [engine.generate(prompt, GREEDY, adapter=name) for prompt, name in zip(PROMPTS, adapters, strict=True)]
    assert in_turn(runs) == expected


def test_one_that_is_cancelled_or_closed_takes_no_step_and_leaves_the_others() -> None:
    decoder = Watched(choose(tiny_models.model("llama"), CONTEXT, is_exact=True))
    expected = alone(Engine(decoder, CONTEXT), PROMPTS[0])
    engine, cancelled = Engine(decoder, CONTEXT), [False]
    kept = engine.generate(PROMPTS[0], GREEDY)
    stopped = engine.generate(PROMPTS[1], GREEDY, is_cancelled=lambda: cancelled[0])
    closed = engine.generate(PROMPTS[2], GREEDY)
    found: list[int] = []
    for number in range(60):
        for run in (kept, stopped, closed):
            step = next(run, None)
            if run is kept and isinstance(step, NewToken):
                found.append(step.id)
        if number == 8:
            cancelled[0] = True
            closed.close()
            last = next(step for step in stopped if step is not None)
            assert isinstance(last, Ended) and last.reason == "cancelled"
            decoder.passes.clear()
    assert found == expected and set(decoder.passes) == {1}
