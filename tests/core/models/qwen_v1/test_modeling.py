"""The first generation's model computes the same however the ids come in, and keeps alpha with the cache."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache, StaticCache

from core.models.qwen_v1 import modeling, rotary
from core.models.qwen_v1.int8_cache import Int8Cache
from tests.helpers import tiny_qwen_v1
from tests.helpers.tiny_qwen_v1 import CONTEXT, TRAINED

TOLERANCE = 2e-4  # fp32, logits of a spread near 1
ids_of = st.lists(st.integers(0, 479), min_size=2, max_size=3 * TRAINED)


@lru_cache
def model(**changes: Any) -> Any:
    return tiny_qwen_v1.model(**changes)


@torch.inference_mode()
def logits_of(ids: list[int], cache: Any = None, made: Any = None, **inputs: Any) -> Tensor:
    logits: Tensor = (made or model())(input_ids=torch.tensor([ids]), past_key_values=cache, **inputs).logits[0]
    return logits


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


def random_ids(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 480, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@settings(max_examples=10, deadline=None)
@given(ids=ids_of, data=st.data())
def test_reading_in_parts_is_reading_at_once(ids: list[int], data: st.DataObject) -> None:
    """With the alpha of the whole, which whoever reads in parts has to name."""
    cache = DynamicCache(config=model().config)
    rotary.prefill_for(cache, len(ids))
    expected, start = logits_of(ids), 0
    while start < len(ids):
        end = data.draw(st.integers(start + 1, len(ids)))
        assert_same(logits_of(ids[start:end], cache), expected[start:end])
        start = end
    assert cache.ntk_alphas == (model().config.long_context.alpha(len(ids)),)


@settings(max_examples=6, deadline=None)
@given(length=st.integers(TRAINED + 1, 2 * TRAINED - 6))
def test_decoding_is_the_full_forward_where_alpha_is_the_same(length: int) -> None:
    ids = random_ids(length + 5)
    expected, cache = logits_of(ids), DynamicCache(config=model().config)
    assert_same(logits_of(ids[:length], cache), expected[:length])
    for place in range(length, len(ids)):
        assert_same(logits_of(ids[place : place + 1], cache), expected[place : place + 1])


@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(1, 3 * TRAINED), min_size=2, max_size=4), pads_left=st.booleans())
def test_a_row_of_a_batch_is_read_as_it_would_be_alone(lengths: list[int], pads_left: bool) -> None:
    width = max(lengths)
    rows = [random_ids(length, seed) for seed, length in enumerate(lengths)]
    pads = [[0] * (width - length) for length in lengths]
    ids = torch.tensor([pad + row if pads_left else row + pad for pad, row in zip(pads, rows, strict=True)])
    mask = torch.ones_like(ids)
    for row, length in enumerate(lengths):
        mask[row, slice(0, width - length) if pads_left else slice(length, width)] = 0
    with torch.inference_mode():
        output = model()(input_ids=ids, attention_mask=mask)
    for row, own in enumerate(rows):
        found = output.logits[row, width - len(own) :] if pads_left else output.logits[row, : len(own)]
        assert_same(found, logits_of(own))


def test_every_cache_has_its_own_alpha() -> None:
    short, long = random_ids(20), random_ids(70, 1)
    caches = {length: DynamicCache(config=model().config) for length in (20, 70)}
    logits_of(short, caches[20])
    logits_of(long, caches[70])
    forked = copy.deepcopy(caches[70])
    found = logits_of([7], caches[20])
    assert [cache.ntk_alphas for cache in (caches[20], caches[70], forked)] == [(1,), (7,), (7,)]
    assert_same(found[0], logits_of([*short, 7])[-1])


def test_a_cache_used_again_forgets_its_alpha() -> None:
    cache = DynamicCache(config=model().config)
    logits_of(random_ids(70), cache)
    cache.reset()
    short = random_ids(20)
    assert_same(logits_of(short, cache), logits_of(short))
    assert cache.ntk_alphas == (1,)


def test_training_stretches_nothing() -> None:
    ids = random_ids(70)
    training = copy.deepcopy(model()).train()
    plain = model(use_dynamic_ntk=False, use_logn_attn=False)
    assert_same(logits_of(ids, made=training), logits_of(ids, made=plain))
    assert float((logits_of(ids) - logits_of(ids, made=plain)).abs().max()) > 0.01


@pytest.mark.parametrize("length", [5, 40])
def test_generate_takes_the_likeliest_whatever_the_cache(length: int) -> None:
    """A static cache brings its own kind of mask, and alpha must come through it."""
    rows = torch.tensor([random_ids(length), [0, 0, 0, *random_ids(length - 3, 1)]])
    mask = torch.ones_like(rows)
    mask[1, :3] = 0
    common: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = []
    for row, own in ((0, rows[0]), (1, rows[1, 3:])):
        ids = own.tolist()
        cache = DynamicCache(config=model().config)
        logits = logits_of(ids, cache)[-1]
        for _ in range(6):
            ids.append(int(logits.argmax()))
            logits = logits_of(ids[-1:], cache)[-1]
        expected.append(ids[-6:])
        assert len(ids) == length + 6 - 3 * row
    for options in ({}, {"cache_implementation": "static"}, {"prefill_chunk_size": 7}):
        found = model().generate(rows, attention_mask=mask, **common, **options)
        assert found[:, length:].tolist() == expected


def test_beams_go_through_the_cache() -> None:
    rows = torch.tensor([random_ids(40), [0] * 15 + random_ids(25, 1)])
    mask = (torch.arange(40) >= torch.tensor([[0], [15]])).long()
    common: dict[str, Any] = {
        "max_new_tokens": 5, "do_sample": False, "num_beams": 3, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    both = model().generate(rows, attention_mask=mask, **common)
    for row, start in ((0, 0), (1, 15)):
        part = (slice(row, row + 1), slice(start, None))
        alone = model().generate(rows[part], attention_mask=mask[part], **common)
        assert both[row, 40:].tolist() == alone[0, 40 - start :].tolist()


def test_static_and_dynamic_caches_agree() -> None:
    ids = random_ids(50)
    static = StaticCache(config=model().config, max_cache_len=CONTEXT)
    assert_same(logits_of(ids[:-1], static), logits_of(ids[:-1]))
    dynamic = DynamicCache(config=model().config)
    logits_of(ids[:-1], dynamic)
    assert_same(logits_of(ids[-1:], static), logits_of(ids[-1:], dynamic))


def test_the_8_bit_cache_follows_generate_and_stays_near() -> None:
    exact, rounded = model(), tiny_qwen_v1.model(use_cache_quantization=True)
    ids = random_ids(50)
    logits = logits_of(ids, made=rounded)
    assert float((logits - logits_of(ids)).abs().max()) < 0.5
    end = rounded.generate(
        torch.tensor([ids]), max_new_tokens=4, do_sample=False, return_dict_in_generate=True, pad_token_id=0
    )
    cache = end.past_key_values
    assert isinstance(cache, Int8Cache) and cache.get_seq_length() == 53
    assert cache.layers[0].key_rows.levels.dtype == torch.uint8
    scales = cache.layers[0].key_rows.scale[0, 0, :, 0]
    assert len(set(scales[:50].tolist())) == 1 and len(set(scales[50:].tolist())) == 3  # one a pass
    cache.crop(-3)
    assert cache.get_seq_length() == 50
    assert exact.generate(torch.tensor([ids]), max_new_tokens=1).shape == (1, 51)


def test_a_cache_of_the_callers_own_is_used() -> None:
    """Also an empty one of whose layers none is made yet, beside a config that asks for 8 bits."""
    own = DynamicCache()
    tiny_qwen_v1.model(use_cache_quantization=True).generate(
        torch.tensor([random_ids(9)]), past_key_values=own, max_new_tokens=2, pad_token_id=0
    )
    assert own.get_seq_length() == 10


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"use_flash_attn": True}, "flash_attention_2"),
        ({"use_flash_attn": True, "dtype": "float32"}, None),
        ({"use_flash_attn": True, "use_cache_quantization": True}, "sdpa"),
    ],
)
def test_flash_attention_where_the_config_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: str | None
) -> None:
    asked: list[str | None] = []

    def noted(self: Any, name: str | None, *args: Any, **kwargs: Any) -> str:
        asked.append(name)
        return "sdpa"

    monkeypatch.setattr(modeling, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr("transformers.PreTrainedModel._check_and_adjust_attn_implementation", noted)
    modeling.QWenModel(tiny_qwen_v1.config(**({"dtype": "bfloat16"} | changes)))
    assert asked[0] == expected


def test_only_the_logits_that_are_asked_for() -> None:
    ids = random_ids(9)
    assert_same(logits_of(ids, logits_to_keep=2), logits_of(ids)[-2:])
    assert_same(logits_of(ids, logits_to_keep=torch.tensor([1, 4])), logits_of(ids)[[1, 4]])


def test_attention_weights_and_hidden_states() -> None:
    made = tiny_qwen_v1.model()
    made.set_attn_implementation("eager")
    output = made(torch.tensor([random_ids(9)]), output_attentions=True, output_hidden_states=True)
    assert [tuple(part.shape) for part in output.attentions] == [(1, 4, 9, 9)] * 2
    assert [tuple(part.shape) for part in output.hidden_states] == [(1, 9, 64)] * 3
    assert_same(output.attentions[0].sum(-1), torch.ones(1, 4, 9))


def test_less_than_the_whole_head_may_turn() -> None:
    made = tiny_qwen_v1.model(rotary_pct=0.5)
    cache, ids = DynamicCache(config=made.config), random_ids(40)
    rotary.prefill_for(cache, 40)
    for start in range(0, 40, 7):
        assert_same(logits_of(ids[start : start + 7], cache, made), logits_of(ids, made=made)[start : start + 7])
    assert float((logits_of(ids, made=made) - logits_of(ids)).abs().max()) > 0.01
