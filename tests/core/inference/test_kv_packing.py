"""A sequence is kept as computed while it is short, and from then on in 8 bits, as if it had always been."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.inference import module_attention
from core.inference.choice import choose
from core.inference.kv_cache import KVCache
from core.inference.kv_int8 import Int8Rows
from core.inference.kv_rows import BUCKET, PlainRows
from core.inference.module import ModuleDecoder
from core.load_options import INT8_KV_BYTES, KVChoice
from tests.helpers import tiny_families, tiny_models
from tests.helpers.packing import packing_from
from tests.helpers.tiny_models import CONTEXT

KINDS = ("llama", "qwen3", "mistral", "qwen3_moe")  # two of them through their module
BEGIN = 20


@lru_cache
def decoder(name: str, kv_cache: KVChoice, begin: int = 0) -> Any:
    """begin: 0 for what was chosen"""
    made = tiny_families.model(name) if name in tiny_families.TINY else tiny_models.model(name)
    found = choose(made, CONTEXT, is_exact=False, kv_cache=kv_cache)
    return packing_from(begin, found) if begin else found


def all_logits(made: Any, ids: list[int], read: int) -> tuple[Tensor, KVCache]:
    """After the read part, and after each step that follows."""
    cache = made.new_cache(read)
    reading, logits = made.read(ids[:read], cache), []
    while not logits:
        try:
            next(reading)
        except StopIteration as end:
            logits.append(end.value)
    logits += [made.step(id, cache) for id in ids[read:]]
    return torch.stack(logits), cache if isinstance(cache, KVCache) else cache.rows


def ids_of(count: int) -> list[int]:
    found: list[int] = torch.randint(0, 500, (count,), generator=torch.Generator().manual_seed(5)).tolist()
    return found


@pytest.mark.parametrize("name", KINDS)
def test_a_short_sequence_is_that_of_plain_rows_bit_for_bit(name: str) -> None:
    ids = ids_of(BUCKET + 30)
    (found, cache), (expected, plain) = (all_logits(decoder(name, kind), ids, 270) for kind in ("int8", "plain"))
    assert torch.equal(found, expected)
    assert cache.size_bytes == plain.size_bytes and not cache.is_packed


@pytest.mark.parametrize("read", [BEGIN - 1, BEGIN, 3 * BEGIN])
@pytest.mark.parametrize("name", KINDS)
def test_a_sequence_that_grows_long_is_packed_on_its_way(name: str, read: int) -> None:
    ids = ids_of(4 * BEGIN)
    found, cache = all_logits(decoder(name, "int8", BEGIN), ids, read)
    assert cache.is_packed and all(isinstance(rows, Int8Rows) for rows in cache.layers)
    expected, plain = all_logits(decoder(name, "plain"), ids, read)
    off = (found - expected).std(-1) / expected.std(-1)
    assert off.median() < 0.04  # of a few tokens it is more, where they go through other experts
    assert cache.size_bytes < 0.4 * plain.size_bytes  # these are fp32
    if read < BEGIN:
        assert torch.equal(found[0], expected[0]) and not torch.equal(found[1], expected[1])


# --- the rows -----------------------------------------------------------------


@torch.inference_mode()
def written(cache: KVCache, rows: list[Tensor], parts: list[int]) -> KVCache:
    """rows: keys and values of each layer, (2, heads, tokens, width), put in by these parts."""
    for new in parts:
        for layer, of_layer in enumerate(rows):
            cache.write(layer, *of_layer[:, :, cache.length : cache.length + new].unbind())
        cache.advance(new)
    return cache


def stored(rows: Any, end: int) -> list[Tensor]:
    kept = rows._stored
    return [kept.keys[:, :end], kept.marks[:, :, :end], kept.values[:, :end]]


def some_rows(cache: KVCache, tokens: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    return [torch.randn(2, 2, tokens, 16, generator=generator) for _ in cache.layers]


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.sampled_from([1, 1, 1, 2, 9, 30]), min_size=1, max_size=30), data=st.data())
def test_what_is_stored_is_what_would_have_been_from_the_first_token_on(parts: list[int], data: st.DataObject) -> None:
    """However the rows came in, and where a copy was made on the way."""
    cache = decoder("qwen3", "int8", BEGIN).new_cache()
    tokens = sum(parts)
    rows, split = some_rows(cache, tokens), data.draw(st.integers(0, len(parts)))
    cache = written(written(cache, rows, parts[:split]).fork(sum(parts[:split])), rows, parts[split:])
    assert cache.is_packed == (tokens >= BEGIN)
    direct = written(decoder("qwen3", "int8", BEGIN).new_cache(BEGIN), rows, [tokens])
    for found, expected in zip(cache.layers, direct.layers, strict=True):
        if tokens < BEGIN:
            assert isinstance(found, PlainRows)
        else:
            assert all(map(torch.equal, stored(found, tokens), stored(expected, tokens)))


def test_memory_falls_when_a_sequence_is_packed() -> None:
    cache = decoder("qwen3", "int8", BUCKET).new_cache()
    rows = some_rows(cache, BUCKET)
    before = written(cache, rows, [BUCKET - 1]).size_bytes
    assert written(cache, rows, [1]).size_bytes < 0.4 * before


def test_what_is_packed_stays_so() -> None:
    """In a copy of its beginning too, and when it goes back."""
    cache = decoder("qwen3", "int8", BEGIN).new_cache()
    rows = some_rows(cache, BEGIN + 1)
    written(cache, rows, [BEGIN])
    copy = cache.fork(5)
    cache.crop(5)
    for one in (copy, cache):
        written(one, rows, [1, 3, 1])
        assert one.is_packed and one.length == 10
        direct = written(decoder("qwen3", "int8", BEGIN).new_cache(BEGIN), rows, [10])
        for found, expected in zip(one.layers, direct.layers, strict=True):
            assert all(map(torch.equal, stored(found, 10), stored(expected, 10)))


# --- the choice ---------------------------------------------------------------


def test_8_bits_begin_by_the_bytes_of_a_token() -> None:
    made = decoder("qwen3", "int8")
    _, cache = all_logits(made, [1, 2, 3], 3)
    keys, values = cache.layers[0].plain(1)
    assert made.keeping.begins_at == INT8_KV_BYTES // (keys.nbytes + values.nbytes)


def test_attention_of_a_module_is_tried_on_packed_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its few tokens would be plain otherwise, and nothing learnt."""

    def refuses(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        raise TypeError

    made = tiny_models.model("mistral")
    monkeypatch.setattr(Int8Rows, "attend", refuses)
    found = choose(made, CONTEXT, is_exact=False, kv_cache="int8")
    assert isinstance(found, ModuleDecoder) and not found.hands_over
    assert made.config._attn_implementation != module_attention.NAME
