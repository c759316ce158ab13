"""Generation as users meet it: the model's own answer, cut where asked, with what is known read only once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat.turns import GREEDY, Sampling
from core.errors import UserError
from core.inference import dense
from core.inference.choice import choose
from core.inference.engine import Ended, Engine, NewToken, PromptReady, Reading, Step
from tests.helpers import tiny_models

CONTEXT = 128
KINDS = ("llama", "qwen2", "qwen3", "mistral")
PROMPT = list(range(20, 40))


@lru_cache
def model(architecture: str) -> Any:
    return tiny_models.model(architecture)


def engine(architecture: str = "qwen3", **options: Any) -> Engine:
    return Engine(choose(model(architecture), CONTEXT, is_exact=True), CONTEXT, **options)


def greedy(count: int = 12) -> Sampling:
    return Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=count)


def new_ids(steps: Iterator[Step] | list[Step]) -> list[int]:
    return [step.id for step in steps if isinstance(step, NewToken)]


def reused(steps: list[Step]) -> int:
    return next(step.reused_tokens for step in steps if isinstance(step, PromptReady))


@pytest.mark.parametrize("architecture", KINDS)
def test_greedy_equals_generate(architecture: str) -> None:
    theirs = model(architecture).generate(
        torch.tensor([PROMPT]),
        attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
        do_sample=False,
        max_new_tokens=24,
        eos_token_id=None,
        pad_token_id=0,
    )
    steps = list(engine(architecture).generate(PROMPT, greedy(24)))
    assert new_ids(steps) == theirs[0, len(PROMPT) :].tolist()
    assert steps[-1] == Ended("length", 24)


@settings(max_examples=15, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=30), min_size=2, max_size=5),
    keep_bytes=st.sampled_from([0, 40_000, 1 << 30]),
)
def test_a_reused_prefix_gives_the_fresh_answer(prompts: list[list[int]], keep_bytes: int) -> None:
    busy = engine(keep_bytes=keep_bytes)
    for prompt in prompts:
        assert new_ids(busy.generate(prompt, greedy(5))) == new_ids(engine().generate(prompt, greedy(5)))


def test_the_next_turn_reads_only_its_new_part() -> None:
    chat = engine()
    first = list(chat.generate(PROMPT, greedy()))
    longer = PROMPT + new_ids(first) + [7, 8, 9]
    assert reused(first) == 0
    assert reused(list(chat.generate(longer, greedy()))) == len(PROMPT) + 11  # the last token was never fed
    assert reused(list(chat.generate(PROMPT, greedy()))) == len(PROMPT) - 1  # "answer again"


def test_two_chats_do_not_cost_each_other_their_cache() -> None:
    system = [5, 6, 7]
    one, two = system + [10] * 30, system + [11] * 30
    chats = engine()
    assert reused(list(chats.generate(one, greedy(2)))) == 0
    assert reused(list(chats.generate(two, greedy(2)))) == len(system)
    assert reused(list(chats.generate([*one, 3], greedy(2)))) == len(one)
    assert reused(list(chats.generate([*two, 3], greedy(2)))) == len(two)
    chats.forget()
    assert reused(list(chats.generate([*two, 4], greedy(2)))) == 0


def test_memory_for_idle_sequences_is_bounded() -> None:
    one_cache = 2 * 2 * 2 * CONTEXT * 16 * 4  # layers, keys and values, heads, rows, width, fp32
    chats = engine(keep_bytes=2 * one_cache)
    prompts = [[number] * 20 for number in (1, 2, 3)]
    for prompt in prompts:
        list(chats.generate(prompt, greedy(2)))
    assert [reused(list(chats.generate(prompt, greedy(2)))) for prompt in prompts[::-1]] == [19, 19, 0]


def test_sequences_stepped_in_turn_do_not_disturb_each_other() -> None:
    together = engine()
    prompts = [[number, 50, 60] for number in range(3)]
    running = [together.generate(prompt, greedy()) for prompt in prompts]
    found: list[list[int]] = [[], [], []]
    live = {0, 1, 2}
    while live:
        for number in sorted(live):
            step = next(running[number], "over")
            if step == "over":
                live.remove(number)
            elif isinstance(step, NewToken):
                found[number].append(step.id)
    assert found == [new_ids(engine().generate(prompt, greedy())) for prompt in prompts]


def test_stop_ids_end_the_reply_and_are_not_part_of_it() -> None:
    said = new_ids(engine().generate(PROMPT, greedy()))
    end = next(place for place in range(1, len(said)) if said[place] not in said[:place])
    steps = list(engine().generate(PROMPT, greedy(), stop_ids={said[end]}))
    assert new_ids(steps) == said[:end]
    assert steps[-1] == Ended("stop", end + 1)


def test_a_reply_ends_where_the_window_ends() -> None:
    steps = list(engine().generate([1] * (CONTEXT - 3), greedy(50)))
    assert len(new_ids(steps)) == 3
    assert steps[-1] == Ended("context_full", 3)
    assert list(engine().generate([1] * (CONTEXT - 3), greedy(2)))[-1] == Ended("length", 2)
    with pytest.raises(UserError) as refused:
        list(engine().generate([1] * CONTEXT, greedy()))
    assert refused.value.code == "prompt_too_long"


def test_cancel_takes_no_further_step() -> None:
    found: list[Step] = []
    for step in engine().generate(PROMPT, greedy(100), is_cancelled=lambda: len(new_ids(found)) == 4):
        found.append(step)
    assert len(new_ids(found)) == 4
    assert found[-1] == Ended("cancelled", 4)


@pytest.mark.parametrize("architecture", ["qwen3", "mistral"])
def test_cancel_while_reading_keeps_what_was_read(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "CHUNK", 16)
    monkeypatch.setattr("core.inference.module.CPU_CHUNK", 16)
    prompt = list(range(100))
    chat = engine(architecture)
    found: list[Step] = []
    for step in chat.generate(prompt, greedy(), is_cancelled=lambda: Reading(48, 100) in found):
        found.append(step)
    assert found[-1] == Ended("cancelled", 0)
    again = list(chat.generate(prompt, greedy()))
    assert reused(again) == 48
    assert new_ids(again) == new_ids(engine(architecture).generate(prompt, greedy()))


def test_a_reader_that_goes_away_leaves_the_cache_usable() -> None:
    chat = engine()
    reading = chat.generate(PROMPT, greedy())
    while not isinstance(next(reading), NewToken):
        pass
    reading.close()  # type: ignore[attr-defined]
    again = list(chat.generate(PROMPT, greedy()))
    assert reused(again) == len(PROMPT) - 1
    assert new_ids(again) == new_ids(engine().generate(PROMPT, greedy()))


def test_others_get_their_turn_while_a_prompt_is_read() -> None:
    steps = list(engine().generate(PROMPT, GREEDY))
    assert steps.index(None) < steps.index(PromptReady(len(PROMPT), 0))


def test_inference_mode_does_not_leak_to_others() -> None:
    for _ in engine().generate(PROMPT, greedy(3)):
        assert not torch.is_inference_mode_enabled()


def test_a_model_without_usable_numbers_is_reported() -> None:
    broken = tiny_models.model("llama", seed=5)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    chat = Engine(dense.DenseDecoder(broken, CONTEXT, is_exact=True), CONTEXT)
    with pytest.raises(UserError) as refused:
        list(chat.generate(PROMPT, greedy()))
    assert refused.value.code == "logits_unusable"
