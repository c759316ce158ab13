"""Both ways of decoding compute what the model computes, however the ids come in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.inference import dense, norms, products
from core.inference.choice import choose
from core.inference.decoder import AnyDecoder
from core.inference.dense import DenseDecoder
from core.inference.kv_rows import BUCKET as FIRST_BUCKET
from core.inference.module import ModuleDecoder
from tests.helpers import tiny_models
from tests.helpers.tiny_models import CONTEXT

DENSE = ("llama", "qwen2", "qwen3")
TOLERANCE = 2e-4  # fp32, logits of a spread near 1
ids_of = st.lists(st.integers(0, 499), min_size=2, max_size=40)


@lru_cache
def model(architecture: str) -> Any:
    return tiny_models.model(architecture)


@lru_cache
def decoder(kind: str) -> AnyDecoder:
    if kind.endswith("-module"):
        return ModuleDecoder(model(kind.removesuffix("-module")), CONTEXT)
    return DenseDecoder(model(kind), CONTEXT, is_exact=False)


KINDS = (*DENSE, "mistral-module", "qwen3-module")


def read(decoder: AnyDecoder, ids: Sequence[int], cache: Any) -> Tensor:
    reading = decoder.read(ids, cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            logits: Tensor = end.value
            return logits


@torch.inference_mode()
def logits_of(model: Any, ids: Sequence[int]) -> Tensor:
    logits: Tensor = model(input_ids=torch.tensor([ids])).logits[0]
    return logits


def whole(kind: str, ids: Sequence[int]) -> Tensor:
    return logits_of(model(kind.removesuffix("-module")), ids)


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(ids=ids_of, data=st.data())
def test_cached_decoding_equals_the_full_forward(kind: str, ids: list[int], data: st.DataObject) -> None:
    cache = decoder(kind).new_cache()
    start = data.draw(st.integers(1, len(ids) - 1))
    expected = whole(kind, ids)
    assert_same(read(decoder(kind), ids[:start], cache), expected[start - 1])
    for place in range(start, len(ids)):
        assert_same(decoder(kind).step(ids[place], cache), expected[place])
    assert cache.length == len(ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(ids=ids_of, chunk=st.integers(1, 12))
def test_reading_in_chunks_equals_reading_at_once(kind: str, ids: list[int], chunk: int) -> None:
    cache = decoder(kind).new_cache()
    for start in range(0, len(ids), chunk):
        logits = read(decoder(kind), ids[start : start + chunk], cache)
    assert_same(logits, whole(kind, ids)[-1])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(ids=ids_of, other=ids_of, data=st.data())
def test_a_cropped_or_forked_prefix_equals_a_fresh_one(
    kind: str, ids: list[int], other: list[int], data: st.DataObject
) -> None:
    cache = decoder(kind).new_cache()
    read(decoder(kind), ids, cache)
    kept = data.draw(st.integers(1, len(ids)))
    fork = cache.fork(kept)
    cache.crop(kept)
    expected = whole(kind, ids[:kept] + other)[-1]
    assert_same(read(decoder(kind), other, fork), expected)
    assert_same(read(decoder(kind), other, cache), expected)


@pytest.mark.parametrize("kind", ["qwen3", "qwen3-module"])
def test_long_prompts_cross_chunks_and_buckets(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "CHUNK", 96)
    ids = torch.randint(0, 500, (FIRST_BUCKET + 60,), generator=torch.Generator().manual_seed(1)).tolist()
    cache = decoder(kind).new_cache()
    read(decoder(kind), ids[:250], cache)
    assert cache.size_bytes <= 2 * 2 * 2 * FIRST_BUCKET * 16 * 4  # layers, keys and values, heads, rows, width, fp32
    for id in ids[250:]:
        logits = decoder(kind).step(id, cache)
    assert_same(logits, whole(kind, ids)[-1])


@pytest.mark.parametrize("architecture", DENSE)
def test_weights_are_not_held_twice(architecture: str) -> None:
    """A change in the module shows, so the decoder works on the very same tensors."""
    made = tiny_models.model(architecture)
    found = DenseDecoder(made, CONTEXT, is_exact=False)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("proj.weight"):
                parameter.mul_(0.5)
    assert_same(read(found, [1, 2, 3], found.new_cache()), logits_of(made, [1, 2, 3])[-1])


@pytest.mark.parametrize("architecture", DENSE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_exact_decoding_rounds_as_transformers_does(architecture: str, dtype: torch.dtype) -> None:
    """Bit by bit where products add up in a fixed order, which CPUs with bf16 instructions do not promise."""
    made = tiny_models.model(architecture, dtype)
    found = DenseDecoder(made, CONTEXT, is_exact=True)
    cache, past = found.new_cache(), None
    ids = torch.randint(0, 500, (40,), generator=torch.Generator().manual_seed(2)).tolist()
    ours = read(found, ids, cache)
    feed = ids
    for _ in range(12):
        with torch.inference_mode():
            output = made(input_ids=torch.tensor([feed]), past_key_values=past, use_cache=True, logits_to_keep=1)
        past, theirs = output.past_key_values, output.logits[0, -1]
        assert torch.equal(ours, theirs) if not products.has_bf16_products() else torch.allclose(ours, theirs, atol=0.1)
        feed = [int(theirs.float().argmax())]
        ours = found.step(feed[0], cache)


def test_the_lean_pass_is_used_where_it_agrees() -> None:
    for architecture in DENSE:
        assert isinstance(choose(tiny_models.model(architecture), CONTEXT, is_exact=False), DenseDecoder)
    assert isinstance(choose(tiny_models.model("qwen2", torch.bfloat16), CONTEXT, is_exact=False), DenseDecoder)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}},
    ],
)
def test_what_the_lean_pass_does_not_know_goes_through_the_module(changes: dict[str, Any]) -> None:
    made = tiny_models.model("qwen2", **changes)
    found = choose(made, CONTEXT, is_exact=False)
    assert isinstance(found, ModuleDecoder)
    ids = torch.randint(0, 500, (30,), generator=torch.Generator().manual_seed(3)).tolist()
    cache = found.new_cache()
    read(found, ids[:20], cache)
    for id in ids[20:]:
        logits = found.step(id, cache)
    assert_same(logits, logits_of(made, ids)[-1])


@pytest.mark.errors_logged
def test_a_pass_that_differs_from_the_model_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms.WideNorm, "__call__", lambda self, x: x)
    assert isinstance(choose(tiny_models.model("llama"), CONTEXT, is_exact=False), ModuleDecoder)
