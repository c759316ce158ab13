"""A token computed by our own code gives the logits and leaves the rows that the lean pass would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from core.inference.choice import choose
from core.inference.dense import DenseDecoder
from core.models.native.library import library
from core.models.quantised import at_load
from tests.helpers import tiny_models, tiny_qwen_v1
from tests.helpers.packing import packing_from
from tests.helpers.tiny_models import CONTEXT

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler here")

CPU = torch.device("cpu")
NAMES = ("llama", "qwen2", "qwen3", "qwen_v1")
FORMS = ("int8", "int4", "bfloat16", "float16", "float32")


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def made(name: str, form: str) -> DenseDecoder:
    dtype = {"float32": torch.float32, "float16": torch.float16}.get(form, torch.bfloat16)
    model = tiny_qwen_v1.model(dtype) if name == "qwen_v1" else tiny_models.model(name, dtype)
    if form in ("int8", "int4"):
        at_load.quantise(model, "int8" if form == "int8" else "int4", CPU, dtype, lambda done, total: None)
    decoder = choose(model, CONTEXT, is_exact=False)
    assert isinstance(decoder, DenseDecoder) and decoder.is_native
    return decoder


def read(decoder: Any, ids: list[int], cache: Any) -> Tensor:
    reading = decoder.read(ids, cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            logits: Tensor = end.value
            return logits


def steps(decoder: DenseDecoder, ids: list[int], cache: Any) -> Tensor:
    return torch.stack([decoder.step(id, cache).float() for id in ids])


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).std() / expected.std())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("before", [0, 70])
def test_a_few_tokens_are_read_at_once_as_one_by_one(name: str, before: int, threads: int) -> None:
    """A short prompt, or the rest of one whose beginning is there already."""
    decoder = made(name, "int8")
    caches = [decoder.new_cache(50) for _ in range(2)]
    for cache in caches if before else ():
        read(decoder, list(range(20, 20 + before)), cache)
    rest = list(range(200, 237))
    single = steps(decoder, rest, caches[0])[-1]
    assert torch.equal(read(decoder, rest, caches[1]).float(), single)
    assert torch.equal(decoder.step(7, caches[0]), decoder.step(7, caches[1]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_the_lean_pass_computes(name: str, form: str, threads: int) -> None:
    decoder = made(name, form)
    prompt, answer = list(range(20, 50)), list(range(100, 112))
    caches = [decoder.new_cache(len(prompt)) for _ in range(2)]
    found, rows = [], []
    for native, cache in zip((True, False), caches, strict=True):
        read(decoder, prompt, cache)
        decoder.may_use_native = native
        found.append(steps(decoder, answer, cache))
        rows.append([layer.plain(cache.length) for layer in cache.layers])
    # Keys and values are halves, and those are rounded at other places; everything else is the same in fp32.
    limit = {"float32": 2e-3, "bfloat16": 0.05}.get(form, 0.02)
    assert off(*found) < limit
    for ours, theirs in zip(*rows, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert off(one.float(), other.float()) < limit


def test_long_sequences_are_shared_out_and_buffers_grow(threads: int) -> None:
    """Attention in many pieces, and more rows than there was room for."""
    decoder = made("qwen3", "float32")
    prompt, answer = [id % 500 for id in range(700)], [id % 500 for id in range(40, 140)]
    cache, other = decoder.new_cache(len(prompt)), decoder.new_cache(len(prompt))
    read(decoder, prompt, cache)
    found = steps(decoder, answer, cache)
    decoder.may_use_native = False
    read(decoder, prompt, other)
    assert off(found, steps(decoder, answer, other)) < 1e-3
    assert cache.length == other.length == 800


def test_a_sequence_that_was_cropped_or_forked_goes_on_with_its_own_rows() -> None:
    decoder = made("llama", "int8")
    cache = decoder.new_cache(8)
    read(decoder, list(range(20, 28)), cache)
    expected = steps(decoder, [40, 41], cache)
    steps(decoder, [50], cache)
    copy = cache.fork(8)
    cache.crop(8)
    assert torch.equal(steps(decoder, [40, 41], cache), expected)
    assert torch.equal(steps(decoder, [40, 41], copy), expected)
    steps(decoder, [60], cache)
    copy.crop(9)
    assert torch.equal(steps(decoder, [41], copy)[0], expected[1])


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_a_sequence_in_8_bits_is_stepped_over_its_codes(name: str, threads: int) -> None:
    """It packs in mid-answer, and what is written is what the lean pass would write."""
    dtype = torch.float32
    decoder: Any = packing_from(20, choose(tiny_models.model(name, dtype), CONTEXT, is_exact=False, kv_cache="int8"))
    ids = [id % 500 for id in range(300, 660)]
    found, kept = [], []
    for native in (True, False):
        decoder.may_use_native = native
        cache = decoder.new_cache(16)
        read(decoder, ids[:16], cache)
        found.append(steps(decoder, ids[16:], cache))
        assert cache.is_packed
        kept.append([layer.plain(cache.length) for layer in cache.layers])
    assert off(*found) < 0.02
    for ours, theirs in zip(*kept, strict=True):
        assert all(off(one, other) < 0.02 for one, other in zip(ours, theirs, strict=True))


def test_the_published_form_is_left_to_the_lean_pass() -> None:
    model = tiny_qwen_v1.model(torch.float32)
    decoder: Any = choose(model, CONTEXT, is_exact=False, kv_cache="int8_compatible")
    cache = decoder.new_cache(8)
    read(decoder, list(range(30, 38)), cache)
    assert steps(decoder, [40, 41], cache).isfinite().all() and cache.buffers(11) is None


def test_wrong_numbers_are_noticed_and_torch_takes_over(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_models.model("qwen2", torch.float32)
    plain = DenseDecoder._natively
    with pytest.MonkeyPatch.context() as patched:

        def wrong(self: DenseDecoder, runs: Any, **options: Any) -> Tensor | None:
            logits = plain(self, runs, **options)
            return None if logits is None else logits.roll(1)

        patched.setattr(DenseDecoder, "_natively", wrong)
        decoder: Any = choose(model, CONTEXT, is_exact=False)
    assert isinstance(decoder, DenseDecoder) and not decoder.is_native
    assert "not stepped by native code" in caplog.text
    caplog.clear()
