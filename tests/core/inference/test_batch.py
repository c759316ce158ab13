"""Many prompts at once are answered as one by one, whatever their lengths are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat.turns import GREEDY, Sampling
from core.errors import UserError
from core.inference import batch, wide_products
from core.inference.batch import Answered, BatchProgress, BatchStep, answer_all
from core.inference.engine import Engine, NewToken
from core.inference.module import ModuleDecoder
from tests.helpers import tiny_models, tiny_qwen_v1

NEW = 12
SHORT = msgspec.structs.replace(GREEDY, max_new_tokens=NEW)
KINDS = ("qwen_v1", "qwen3", "mistral")


@lru_cache
def model(kind: str) -> Any:
    if kind == "qwen_v1":
        return tiny_qwen_v1.model()
    changes: dict[str, Any] = {"sliding_window": 16} if kind == "mistral" else {}
    return tiny_models.model(kind, **changes)


def prompt(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 480, (length,), generator=torch.Generator().manual_seed(seed * 1000 + length)).tolist()


def alone(kind: str, ids: list[int], sampling: Sampling = SHORT) -> tuple[int, ...]:
    """As generate() answers it, with greedy choices."""
    end = model(kind).generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
        max_new_tokens=sampling.max_new_tokens, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return tuple(end[0, len(ids) :].tolist())


def together(kind: str, prompts: list[list[int]], sampling: Sampling = SHORT, **options: Any) -> list[Answered]:
    steps = answer_all(model(kind), prompts, sampling, context_length=options.pop("context", 256), **options)
    found = sorted((step for step in steps if isinstance(step, Answered)), key=lambda step: step.index)
    assert [answer.index for answer in found] == list(range(len(prompts)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_one_by_one(kind: str) -> None:
    prompts = [prompt(length) for length in (5, 70, 31, 33, 1, 130)]  # of the first generation: alpha 1, 3, 7 and 15
    found = together(kind, prompts)
    assert [answer.ids for answer in found] == [alone(kind, ids) for ids in prompts]
    assert {(answer.reason, answer.steps) for answer in found} == {("length", NEW)}


@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(1, 90), min_size=2, max_size=5), chunk=st.integers(1, 200))
def test_however_the_prompts_are_cut_and_grouped(lengths: list[int], chunk: int) -> None:
    prompts = [prompt(length, seed) for seed, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "CPU_CHUNK", chunk)
        whole = together("qwen_v1", prompts)
    token = 2 * 2 * 4 * 16 * 4  # bytes of keys and values
    assert together("qwen_v1", prompts, cache_bytes=120 * token) == whole


def test_rows_end_where_they_would_alone() -> None:
    prompts = [prompt(length) for length in (9, 40, 25, 60)]
    whole = [alone("qwen3", ids) for ids in prompts]
    stops = {whole[0][3], whole[2][0]}
    found = together("qwen3", prompts, stop_ids=stops)
    for answer, ids in zip(found, whole, strict=True):
        cut = next((place for place, id in enumerate(ids) if id in stops), NEW)
        assert answer.ids == ids[:cut]
        assert (answer.reason, answer.steps) == (("stop", cut + 1) if cut < NEW else ("length", NEW))


def test_a_reply_ends_where_its_text_does() -> None:
    seen: list[tuple[int, int]] = []

    def ends(index: int, id: int) -> bool:
        seen.append((index, id))
        return index == 1 and sum(at == 1 for at, _ in seen) == 3

    found = together("qwen3", [prompt(9), prompt(40)], ends=ends)
    assert [(len(answer.ids), answer.reason) for answer in found] == [(NEW, "length"), (3, "stop")]
    assert [id for index, id in seen if index == 1] == list(found[1].ids)


def test_the_window_ends_a_reply() -> None:
    found = together("qwen3", [prompt(20), prompt(27)], context=30)
    assert [(len(answer.ids), answer.reason) for answer in found] == [(10, "context_full"), (3, "context_full")]
    with pytest.raises(UserError, match="30"):
        together("qwen3", [prompt(5), prompt(30)], context=30)


def test_sampled_answers_are_those_of_the_engine() -> None:
    sampling = Sampling(max_new_tokens=NEW, seed=5)
    prompts = [prompt(length) for length in (11, 64, 40)]
    engine = Engine(ModuleDecoder(model("qwen3"), 256), 256)
    for answer, ids in zip(together("qwen3", prompts, sampling), prompts, strict=True):
        assert list(answer.ids) == [s.id for s in engine.generate(ids, sampling) if isinstance(s, NewToken)]


def test_rows_of_the_table_without_a_token_are_never_chosen() -> None:
    sampling = Sampling(temperature=5.0, top_k=0, top_p=1.0, max_new_tokens=40, seed=1)
    assert max(max(answer.ids) for answer in together("qwen_v1", [prompt(9), prompt(20)], sampling)) > 300
    assert max(max(a.ids) for a in together("qwen_v1", [prompt(9), prompt(20)], sampling, rows=300)) < 300


def test_progress_is_told_and_a_cancel_waits_for_one_step_only() -> None:
    is_cancelled = False
    steps: Iterator[BatchStep] = answer_all(
        model("qwen3"), [prompt(9), prompt(40)], SHORT, context_length=256, is_cancelled=lambda: is_cancelled
    )
    told = [step for _, step in zip(range(4), steps, strict=False) if isinstance(step, BatchProgress)]
    assert told[-1] == BatchProgress(0, 2, 2 * len(told))
    is_cancelled = True
    rest = list(steps)
    assert [(step.reason, len(step.ids)) for step in rest if isinstance(step, Answered)] == [
        ("cancelled", len(told)), ("cancelled", len(told))
    ]  # fmt: skip
    assert len(rest) == 2


def test_no_prompts_and_no_tokens() -> None:
    assert together("qwen3", []) == []
    found = together("qwen3", [prompt(4)], msgspec.structs.replace(SHORT, max_new_tokens=0))
    assert (found[0].ids, found[0].reason) == ((), "length")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_slow_processors_multiply_many_rows_in_fp32(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide_products, "has_bf16_products", lambda: False)
    made: Any = tiny_models.model("qwen3", dtype)
    linear = made.model.layers[0].mlp.gate_proj
    few, many = (torch.randn(1, rows, 64).to(dtype) for rows in (7, 8))
    exact = torch.nn.functional.linear(many.float(), linear.weight.float()).to(dtype)
    heads = torch.randn(3, 2, 4, 8, 16).to(dtype).unbind()
    attended = torch.nn.functional.scaled_dot_product_attention(*(part.float() for part in heads), is_causal=True)
    plain = linear(few)
    with torch.inference_mode(), wide_products.wide_products(made):
        assert torch.equal(linear(many), exact)
        assert torch.equal(linear(few), plain)
        found = torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
    assert torch.equal(found, attended.to(dtype))
    steps = answer_all(made, [prompt(9), prompt(30)] * 5, SHORT, context_length=256)
    assert [len(step.ids) for step in steps if isinstance(step, Answered)] == [NEW] * 10
