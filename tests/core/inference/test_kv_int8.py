"""Keys and values in 8 bits: half the memory, nearly the same answers, whatever way the ids come in."""

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
from core.inference import dense, kv_int8, module_attention, packed_attention
from core.inference.attention import Arithmetic
from core.inference.choice import choose
from core.inference.dense import DenseDecoder
from core.inference.engine import Ended, Engine, NewToken, PromptReady
from core.inference.kv_choice import keep
from core.inference.kv_int8 import ChannelSizes, CompatibleRows, Int8Rows, Shared
from core.inference.kv_rows import BUCKET, PlainRows
from core.inference.module import ModuleDecoder
from core.load_options import KVChoice
from core.models.qwen_v1.int8_cache import Int8Cache
from core.models.qwen_v1.int8_rows import quantise_chunk
from tests.helpers import tiny_families, tiny_models, tiny_qwen_v1
from tests.helpers.packing import packing_from
from tests.helpers.tiny_models import CONTEXT

HOW = Arithmetic(torch.float32, reads_in_fp32=False, packs_heads=True)
# Of the spread of the logits: a step computes in bf16 with the rows that reading makes fp32.
TOLERANCE = 0.04
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=8)
ids_of = st.lists(st.integers(0, 499), min_size=2, max_size=40)


@lru_cache
def model(name: str) -> Any:
    return tiny_families.model(name) if name in tiny_families.TINY else tiny_models.model(name)


@lru_cache
def decoder(name: str, kv_cache: KVChoice) -> Any:
    made = tiny_families.model(name) if name in tiny_families.TINY else tiny_models.model(name)
    return packing_from(0, choose(made, CONTEXT, is_exact=False, kv_cache=kv_cache))


KINDS = ("llama", "qwen3", "mistral", "qwen3_moe")  # two of them through their module


def read(decoder: Any, ids: Sequence[int], cache: Any) -> Tensor:
    reading = decoder.read(ids, cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            logits: Tensor = end.value
            return logits


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).std() / expected.std())


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert off(found, expected) < TOLERANCE


# --- rows ---------------------------------------------------------------------


def some(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def rows_of(kind: str, heads: int, width: int, shared: Shared | None = None) -> Any:
    shared = shared or Shared(HOW, CONTEXT)
    sizes = ChannelSizes(torch.rand(heads, 1, width, generator=torch.Generator().manual_seed(1)) + 0.5)
    return Int8Rows(shared, sizes) if kind == "int8" else CompatibleRows(shared)


def test_rounding_is_off_by_half_a_step_at_most() -> None:
    keys, values = some(2, 3, 20, 32).unbind()
    values[:, 7] = keys[:, 8] = 0
    rows = rows_of("int8", 3, 32)
    rows.write(0, keys, values)
    found_keys, found_values = rows.plain(20)
    steps = (values.amax(-1, True) - values.amin(-1, True)) / 255
    assert ((found_values[0] - values).abs() <= 0.51 * steps + 1e-6).all()
    sizes = rows.sizes.times(1.0, torch.float32)
    steps = (keys / sizes).abs().amax(-1, True) / 127 * sizes
    assert ((found_keys[0] - keys).abs() <= 0.51 * steps + 1e-6).all()
    assert (found_values[0, :, 7] == 0).all() and (found_keys[0, :, 8] == 0).all()


def test_cards_store_what_the_processor_stores() -> None:
    """There the codes of values are made by other means."""
    values = some(3, 20, 32)
    values[1, 5] = 0
    ours = packed_attention.rows_of(values)
    theirs = packed_attention.rounded_rows(values)
    assert int((ours[..., :32].int() - theirs[..., :32].int()).abs().max()) <= 1
    torch.testing.assert_close(packed_attention.floats_of(ours), packed_attention.floats_of(theirs), atol=0.05, rtol=0)
    for mine, other in zip(packed_attention.marks_of(ours), packed_attention.marks_of(theirs), strict=True):
        torch.testing.assert_close(mine, other)


def test_the_published_form_is_stored_as_published() -> None:
    keys, values = some(2, 3, 5, 16).unbind()
    rows = rows_of("int8_compatible", 3, 16)
    rows.write(0, keys, values)
    for found, states in zip(rows.published(5), (keys, values), strict=True):
        for part, expected in zip(found, quantise_chunk(states[None]), strict=True):
            assert torch.equal(part, expected)


@pytest.mark.parametrize("kind", ["int8", "int8_compatible"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_attention_over_codes_is_that_over_floating_point_rows(kind: str, data: st.DataObject) -> None:
    heads, group = data.draw(st.sampled_from([(1, 1), (2, 1), (2, 3), (3, 7)]))
    width = data.draw(st.sampled_from([16, 24, 64]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    shared = Shared(HOW, CONTEXT)  # with the memory that both sequences use in turn
    for length in data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=3)):
        rows = rows_of(kind, heads, width, shared)
        rows.write(0, *torch.randn(2, heads, length, width, generator=generator).unbind())
        end = data.draw(st.integers(1, length))
        queries = torch.randn(1, heads * group, width, generator=generator)
        found = {}
        for is_packed in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(packed_attention, "is_better", lambda is_packed=is_packed: is_packed)
                found[is_packed] = rows.attend(queries, end, None, 0.2)
        torch.testing.assert_close(found[True], found[False], atol=0.03, rtol=0.03)


@pytest.mark.parametrize("kind", ["int8", "int8_compatible"])
def test_many_heads_are_made_floating_point_a_few_at_a_time(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(kind, 5, 16)
    rows.write(0, *some(2, 5, 12, 16).unbind())
    queries = some(12, 10, 16)
    whole = rows.attend(queries, 12, None)
    monkeypatch.setattr(kv_int8, "AT_ONCE", 8 * 12 * 16 * 2)
    torch.testing.assert_close(rows.attend(queries, 12, None), whole)


def test_memory_is_little_more_than_half_of_bf16() -> None:
    how = Arithmetic(torch.bfloat16, reads_in_fp32=True, packs_heads=True)
    for width in (64, 128):
        plain = PlainRows(how, 8192)
        others = Int8Rows(Shared(how, 8192), ChannelSizes(torch.ones(4, 1, width))), CompatibleRows(Shared(how, 8192))
        for rows in (plain, *others):
            for at in range(0, 3000, 500):
                rows.write(at, *torch.randn(2, 4, 500, width).bfloat16().unbind())
        for rows in others:
            assert 0.5 < rows.size_bytes / plain.size_bytes <= 0.55


# --- decoding -----------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=8, deadline=None)
@given(ids=ids_of, other=ids_of, data=st.data())
def test_it_does_not_matter_how_the_ids_come_in(
    name: str, ids: list[int], other: list[int], data: st.DataObject
) -> None:
    """Read at once, in parts, one by one, or after the beginning of another sequence."""
    made = decoder(name, "int8")
    assert made.kv_cache == "int8"
    expected = read(made, ids, made.new_cache())
    start = data.draw(st.integers(1, len(ids) - 1))
    stepped = made.new_cache()
    read(made, ids[:start], stepped)
    for id in ids[start:]:
        logits = made.step(id, stepped)
    assert_near(logits, expected)
    parts = made.new_cache()
    read(made, ids[:start] + other, parts)
    fork = parts.fork(start)
    parts.crop(start)
    assert_near(read(made, ids[start:], parts), expected)
    assert_near(read(made, ids[start:], fork), expected)


@pytest.mark.parametrize("kv_cache", ["int8", "int8_compatible"])
@pytest.mark.parametrize("name", KINDS)
def test_answers_are_nearly_those_of_plain_rows(name: str, kv_cache: KVChoice) -> None:
    ids = torch.randint(0, 500, (BUCKET + 40,), generator=torch.Generator().manual_seed(1)).tolist()
    made = decoder(name, kv_cache)
    cache = made.new_cache()
    read(made, ids[:-5], cache)
    for id in ids[-5:]:
        logits = made.step(id, cache)
    with torch.inference_mode():
        expected = model(name)(input_ids=torch.tensor([ids])).logits[0, -1]
    assert off(logits, expected) < (0.05 if kv_cache == "int8" else 0.25)


def test_modules_are_handed_the_codes_where_their_attention_can_be_replaced() -> None:
    made = tiny_models.model("mistral")
    assert choose(made, CONTEXT, is_exact=False, kv_cache="int8").kv_cache == "int8"
    assert made.config._attn_implementation == module_attention.NAME
    ids = torch.randint(0, 500, (2, 9))
    with torch.inference_mode():  # whoever else uses the module gets what it always gave
        torch.testing.assert_close(made(ids).logits, model("mistral")(ids).logits)
    eager = tiny_models.model("mistral")
    eager.set_attn_implementation("eager")
    found = packing_from(0, choose(eager, CONTEXT, is_exact=False, kv_cache="int8"))
    assert eager.config._attn_implementation == "eager"
    both = [read(made, [1, 2, 3, 4], made.new_cache()) for made in (found, decoder("mistral", "int8"))]
    assert_near(*both)


@pytest.mark.errors_logged  # transformers tells that the fast programs for cards are not there
@pytest.mark.parametrize("name", ["qwen2_5 with a window", "qwen3_next", "qwen3_5"])
def test_other_caches_stay_as_they_are(name: str) -> None:
    made = decoder(name, "int8")
    assert made.kv_cache == "plain"
    ids = list(range(30))
    cache = made.new_cache()
    read(made, ids[:-1], cache)
    with torch.inference_mode():
        expected = model(name)(input_ids=torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(made.step(ids[-1], cache), expected, atol=2e-4, rtol=2e-4)


# --- the published form -------------------------------------------------------


@pytest.mark.parametrize("through_module", [False, True])
def test_the_published_form_is_that_of_the_published_cache(through_module: bool) -> None:
    """A prompt is one chunk, then each token one of its own, as in transformers with the published cache."""
    made = tiny_qwen_v1.model(use_cache_quantization=True)
    found: Any = choose(made, 256, is_exact=False)
    if through_module:
        found = ModuleDecoder(made, 256)
        keep(made, found, "auto")
    assert isinstance(found, ModuleDecoder if through_module else DenseDecoder)
    assert found.kv_cache == "int8_compatible"
    ids = torch.randint(0, 500, (90,), generator=torch.Generator().manual_seed(2)).tolist()
    cache, past = found.new_cache(80), Int8Cache(made.config)
    assert cache.ntk_alpha == 7
    with torch.inference_mode():
        expected = made(input_ids=torch.tensor([ids[:80]]), past_key_values=past).logits[0, -1]
        torch.testing.assert_close(read(found, ids[:80], cache), expected, atol=2e-3, rtol=2e-3)
        for id in ids[80:]:
            expected = made(input_ids=torch.tensor([[id]]), past_key_values=past).logits[0, -1]
            # A difference in the last bit may truncate to the next code.
            assert off(found.step(id, cache), expected) < 2 * TOLERANCE


# --- the engine ---------------------------------------------------------------


def reused(steps: Sequence[Any]) -> int:
    return next(step.reused_tokens for step in steps if isinstance(step, PromptReady))


def new_ids(steps: Sequence[Any]) -> list[int]:
    return [step.id for step in steps if isinstance(step, NewToken)]


@pytest.mark.parametrize("name", ["qwen3", "mistral"])
def test_our_rows_are_reused_and_published_ones_never(name: str) -> None:
    prompt = list(range(20, 60))
    for kv_cache, expected in (("int8", len(prompt)), ("int8_compatible", 0)):
        chat = Engine(decoder(name, kv_cache), CONTEXT)
        list(chat.generate(prompt, GREEDY))
        assert reused(list(chat.generate([*prompt, 7, 8], GREEDY))) == expected


@pytest.mark.parametrize("kv_cache", ["int8", "int8_compatible"])
@pytest.mark.parametrize("name", ["qwen3", "mistral"])
def test_a_cancelled_reading_leaves_what_can_be_used(
    name: str, kv_cache: KVChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "CHUNK", 16)
    made = decoder(name, kv_cache)
    if isinstance(made, ModuleDecoder):
        monkeypatch.setattr(made, "_chunk", 16)
    chat, prompt, asked = Engine(made, CONTEXT), list(range(100)), count()
    # Layer after layer of the lean pass, or chunk after chunk of a module; the published form has one chunk only.
    last = 5 if kv_cache == "int8" else 1
    seen = list(chat.generate(prompt, GREEDY, is_cancelled=lambda: next(asked) == last))
    assert seen[-1] == Ended("cancelled", 0)
    again = list(chat.generate(prompt, GREEDY))
    assert (reused(again) > 0) == (kv_cache == "int8")
    assert new_ids(again) == new_ids(list(Engine(made, CONTEXT).generate(prompt, GREEDY)))


def test_others_get_their_turn_while_a_prompt_is_one_chunk() -> None:
    chat = Engine(decoder("qwen3", "int8_compatible"), CONTEXT)
    steps = list(chat.generate(list(range(40)), GREEDY))
    assert steps.index(None) < steps.index(PromptReady(40, 0))
