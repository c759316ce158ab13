"""The first generation through decoders and engine: the published digits, stretched positions, what is reused."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from core.chat.turns import Sampling
from core.inference import dense, kv_int8
from core.inference.choice import choose
from core.inference.dense import DenseDecoder
from core.inference.engine import Engine, NewToken, PromptReady
from core.inference.kv_choice import keep
from core.inference.module import ModuleDecoder
from core.inference.products import has_bf16_products
from tests.core.models.qwen_v1.test_vectors import FIVE, TWENTY, published_quantiser
from tests.helpers import tiny_qwen_v1
from tests.helpers.tiny_qwen_v1 import TRAINED, vector_model

CONTEXT = tiny_qwen_v1.CONTEXT
WAYS = pytest.mark.parametrize("way", ["lean", "module"])


def decoder(way: str, model: Any) -> Any:
    """One that computes as the model does: the published int8 form turns on the last bit."""
    if way == "module":
        through = ModuleDecoder(model, CONTEXT)
        keep(model, through, "auto")
        return through
    found = choose(model, CONTEXT, is_exact=True)
    assert isinstance(found, DenseDecoder)
    return found


def read(decoder: Any, ids: Sequence[int], cache: Any) -> Tensor:
    reading = decoder.read(ids, cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            logits: Tensor = end.value
            return logits


def assert_printed(logits: Tensor, digits: list[float]) -> None:
    torch.testing.assert_close(logits[:6], torch.tensor(digits), atol=7e-6, rtol=0)


# --- published digits ---------------------------------------------------------


@WAYS
@pytest.mark.parametrize(
    ("ntk", "logn", "digits"),
    [
        (True, True, [0.05855, -1.01424, -0.2384, 0.97197, 0.41075, -0.89913]),
        (True, False, [0.05567, -1.00988, -0.23475, 0.96825, 0.40644, -0.89618]),
        (False, True, [0.04992, -1.00246, -0.22768, 0.96209, 0.39829, -0.89147]),
        (False, False, [0.04713, -0.99832, -0.22416, 0.95858, 0.39413, -0.88869]),
    ],
)
def test_past_the_trained_length(way: str, ntk: bool, logn: bool, digits: list[float]) -> None:
    made = decoder(way, vector_model(use_dynamic_ntk=ntk, use_logn_attn=logn))
    for parts in ([20], [13, 7]):  # at once, and in chunks
        cache, at = made.new_cache(20), 0
        for part in parts:
            logits = read(made, TWENTY[at : at + part], cache)
            at += part
        assert_printed(logits, digits)


@WAYS
def test_alpha_is_that_of_the_prompt_and_stays(way: str) -> None:
    made = decoder(way, vector_model())
    cache = made.new_cache(12)
    assert cache.ntk_alpha == 3
    assert_printed(read(made, TWENTY[:12], cache), [0.34467, -0.84062, -0.49373, 0.75307, 0.62727, -0.64184])
    cache = made.new_cache(7)
    read(made, TWENTY[:7], cache)
    for id in TWENTY[7:12]:
        logits = made.step(id, cache)
    assert_printed(logits, [0.34449, -0.84032, -0.4935, 0.75281, 0.62699, -0.64163])
    assert_printed(read(made, TWENTY[11:12], cache.fork(11)), [0.34449, -0.84032, -0.4935, 0.75281, 0.62699, -0.64163])
    assert cache.length == 12 and cache.ntk_alpha == 1


@WAYS
def test_the_8_bit_cache(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = decoder(way, vector_model(use_cache_quantization=True))
    monkeypatch.setattr(kv_int8.int8_rows, "quantise_chunk", published_quantiser())
    cache = made.new_cache(5)
    assert_printed(read(made, FIVE, cache), [0.89628, 0.5022, -0.80723, -0.64534, 0.69279, 0.76819])
    rows = cache.layers if way == "lean" else cache.rows.layers
    for part in rows[0].published(5):
        assert [tuple(tensor.shape) for tensor in part] == [(1, 4, 5, 8), (1, 4, 5, 1), (1, 4, 5, 1)]


# --- as transformers does -----------------------------------------------------


@lru_cache
def model() -> Any:
    return tiny_qwen_v1.model()


def prompt(length: int, seed: int = 1) -> list[int]:
    ids: list[int] = torch.randint(0, 500, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return ids


def greedy(count: int = 12) -> Sampling:
    return Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=count)


def new_ids(steps: Any) -> list[int]:
    return [step.id for step in steps if isinstance(step, NewToken)]


def ready(steps: list[Any]) -> PromptReady:
    return next(step for step in steps if isinstance(step, PromptReady))


@WAYS
@pytest.mark.parametrize("length", [5, TRAINED - 3, TRAINED + 1, 3 * TRAINED])
def test_greedy_equals_generate(way: str, length: int) -> None:
    ids = torch.tensor([prompt(length)])
    theirs = model().generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, eos_token_id=None, pad_token_id=0
    )
    assert (
        new_ids(Engine(decoder(way, model()), CONTEXT).generate(prompt(length), greedy()))
        == theirs[0, length:].tolist()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_exact_decoding_rounds_as_the_module_does(dtype: torch.dtype) -> None:
    made = tiny_qwen_v1.model(dtype)
    lean, through = DenseDecoder(made, CONTEXT, is_exact=True), ModuleDecoder(made, CONTEXT)
    ids = prompt(2 * TRAINED)
    caches = lean.new_cache(len(ids)), through.new_cache(len(ids))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.inference.module.CPU_CHUNK", 512)
        ours, theirs = read(lean, ids, caches[0]), read(ModuleDecoder(made, CONTEXT), ids, caches[1])
    for _ in range(8):
        assert torch.equal(ours, theirs) if not has_bf16_products() else torch.allclose(ours, theirs, atol=0.1)
        id = int(theirs.float().argmax())
        ours, theirs = lean.step(id, caches[0]), through.step(id, caches[1])


# --- reuse --------------------------------------------------------------------


@WAYS
def test_a_turn_that_stretches_more_is_read_afresh(way: str) -> None:
    chat = Engine(decoder(way, model()), CONTEXT)
    first, second, third = prompt(20), [*prompt(20), 7, 8], prompt(20) + prompt(20, 2)
    assert ready(list(chat.generate(first, greedy(2)))).ntk_alpha == 1
    again = ready(list(chat.generate(second, greedy(2))))
    assert (again.reused_tokens, again.ntk_alpha) == (20, 1)
    steps = list(chat.generate(third, greedy()))
    assert (ready(steps).reused_tokens, ready(steps).ntk_alpha) == (0, 3)
    assert new_ids(steps) == new_ids(Engine(decoder(way, model()), CONTEXT).generate(third, greedy()))
    longer = ready(list(chat.generate([*third, 9], greedy(2))))
    assert (longer.reused_tokens, longer.ntk_alpha) == (40, 3)


@WAYS
def test_reading_in_chunks_equals_reading_at_once(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = prompt(3 * TRAINED)
    made = decoder(way, model())
    expected = read(made, ids, made.new_cache(len(ids)))
    monkeypatch.setattr(dense, "CHUNK", 20)
    monkeypatch.setattr("core.inference.module.CPU_CHUNK", 20)
    made = decoder(way, model())
    torch.testing.assert_close(read(made, ids, made.new_cache(len(ids))), expected, atol=2e-4, rtol=2e-4)


def test_rows_without_a_token_are_never_chosen() -> None:
    made = decoder("lean", model())
    plain = new_ids(Engine(made, CONTEXT).generate(prompt(5), greedy(30)))
    rows = max(plain)
    assert rows > min(plain)
    for sampling in (greedy(30), Sampling(temperature=2.0, top_p=1.0, top_k=0, max_new_tokens=30, seed=1)):
        assert max(new_ids(Engine(made, CONTEXT, rows=rows).generate(prompt(5), sampling))) < rows
