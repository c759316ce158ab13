"""Bytes and operations of a step: what a model has in memory, what the formula says, and what was published."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.inference.card.accounting import Shape, launches, weight_bytes
from core.inference.card.decoder import CardDecoder
from core.inference.card.step import Step
from core.models.quantised import at_load
from core.models.quantised.choice import pack
from tests.helpers import tiny_models, tiny_qwen_v1

FIRST = {"model_type": "qwen", "kv_channels": 128}
SEVEN = SimpleNamespace(
    **FIRST, num_hidden_layers=32, hidden_size=4096, intermediate_size=22016, num_attention_heads=32, vocab_size=151936
)
FOURTEEN = SimpleNamespace(
    **FIRST, num_hidden_layers=40, hidden_size=5120, intermediate_size=27392, num_attention_heads=40, vocab_size=152064
)


def test_the_formula_gives_the_known_bytes_of_the_first_generation() -> None:
    seven, fourteen = Shape.of(SEVEN), Shape.of(FOURTEEN)
    assert [round(shape.weight_bytes("bf16") / 1e9, 2) for shape in (seven, fourteen)] == [14.2, 26.78]
    assert [round(shape.weight_bytes("int4") / 1e9, 2) for shape in (seven, fourteen)] == [4.61, 8.11]
    assert [shape.cache_bytes() / 1024 for shape in (seven, fourteen)] == [512, 800]
    assert seven.cache_bytes("int8") / seven.cache_bytes() < 0.55
    assert [round(seven.limit(4.3e12, 0, last, "bf16")) for last in (2048, 8192)] == [292, 263]
    assert round(seven.limit(4.3e12, 0, 2048, "int4")) == 835
    assert 0.034 < seven.read_flops(2048) / 790e12 < 0.036  # seconds


@pytest.mark.parametrize("kind", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "qwen_v1"])
def test_a_model_has_the_bytes_of_the_formula(name: str, kind: Any) -> None:
    if name == "qwen_v1":
        model: Any = tiny_qwen_v1.model(torch.bfloat16)
    else:
        model = tiny_models.model(name, torch.bfloat16, tie_word_embeddings=False)
    if kind != "bf16":
        at_load.quantise(model, kind, torch.device("cpu"), torch.bfloat16, lambda done, total: None)
    CardDecoder(model, 128, is_exact=False)
    pack(model, torch.bfloat16)
    shape, head = Shape.of(model.config), "int8" if kind == "int8" else "bf16"
    # Scales and zeros are most of the difference in a model this small: in fp32 for 8 bits, twice for 4.
    allowed = {"bf16": 0.002, "int8": 0.1, "int4": 0.35}[kind]
    assert weight_bytes(model) == pytest.approx(shape.weight_bytes(kind, 64, head), rel=allowed)


def step_launches(layers: int) -> int:
    model = tiny_models.model("llama", num_hidden_layers=layers)
    decoder = CardDecoder(model, 128, is_exact=True)
    cache = decoder.new_cache()
    for _ in decoder.read([1, 2, 3], cache):
        pass
    parts = decoder.parts[""]
    tables = decoder._positions.rows(0, 128, 1.0)
    step = Step(parts, cache.layers, tables, decoder.operations, 128)  # type: ignore[arg-type]
    token, position = torch.tensor([4]), torch.tensor([3])
    with torch.inference_mode():
        return launches(lambda: step(token, position))


def test_a_layer_launches_no_more_than_it_did() -> None:
    """Of plain torch, which the fused kernels take 10 for; a bound, so that a careless line shows."""
    one, two = step_launches(1), step_launches(2)
    assert two - one <= 50
    assert one - (two - one) <= 20
    assert Shape.of(SEVEN).fused_launches() == 32 * 10 + 12


def test_views_are_no_launches() -> None:
    some = torch.zeros(4, 4)
    assert launches(lambda: some.view(16)[2:].narrow(0, 0, 2)) == 0
    assert launches(lambda: (some + 1).add_(2)) == 2
