"""The lean pass on quantised weights: joined where the input is the same, held once, and as good as the module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from core.inference.choice import choose
from core.inference.dense import DenseDecoder
from core.inference.products import Part, Quantised
from core.models.quantised import at_load
from core.models.quantised.linear import QuantisedLinear
from tests.helpers import tiny_models, tiny_qwen_v1
from tests.helpers.packing import packing_from
from tests.helpers.tiny_models import CONTEXT

Kind = Literal["int8", "int4"]
CPU = torch.device("cpu")
NAMES = ("llama", "qwen2", "qwen3", "qwen_v1")
IDS = list(range(20, 60))


def made(name: str, kind: Kind, dtype: torch.dtype = torch.bfloat16) -> Any:
    model = tiny_qwen_v1.model(dtype) if name == "qwen_v1" else tiny_models.model(name, dtype)
    at_load.quantise(model, kind, CPU, dtype, lambda done, total: None)
    return model


def exact(model: Any) -> Any:
    """The same weights, dequantised, in fp32."""
    other = type(model)(model.config).eval()
    state = {name: tensor.float() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    for name, module in model.named_modules():
        if isinstance(module, QuantisedLinear):
            state[f"{name}.weight"] = module.weight_of().dequantised()
    other.tie_weights()
    missing, _ = other.load_state_dict(state, strict=False)
    assert not missing
    return other


def steps(decoder: Any, ids: Sequence[int], read: int) -> list[Tensor]:
    cache = decoder.new_cache(len(ids))
    reading = decoder.read(ids[:read], cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            found = [end.value]
            break
    return found + [decoder.step(id, cache) for id in ids[read:]]


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("name", NAMES)
def test_it_computes_with_the_quantised_weights(name: str, kind: Kind) -> None:
    model = made(name, kind)
    decoder = choose(model, CONTEXT, is_exact=False)
    assert isinstance(decoder, DenseDecoder)
    with torch.inference_mode():
        expected = exact(model)(input_ids=torch.tensor([IDS])).logits[0, 29:]
        through_module = model(input_ids=torch.tensor([IDS])).logits[0, 29:].float()
    found = torch.stack(steps(decoder, IDS, 30)).float()
    off = (found - expected).std() / expected.std()
    assert off < 0.05
    assert off < 2 * (through_module - expected).std() / expected.std()


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_products_of_one_input_are_one(kind: Kind) -> None:
    model = made("qwen2", kind)
    whole = sum(module.size_bytes for module in model.modules() if isinstance(module, QuantisedLinear))
    decoder = choose(model, CONTEXT, is_exact=False)
    layer = decoder.parts[""].layers[0]
    assert isinstance(layer.qkv, Quantised) and isinstance(layer.gate_up, Quantised)
    names = [f"model.layers.0.self_attn.{part}_proj" for part in "qkv"]
    assert layer.qkv.parts == tuple(Part(name, model.get_submodule(name).out_features) for name in names)
    after = sum(module.size_bytes for module in model.modules() if isinstance(module, QuantisedLinear))
    assert after <= 1.2 * whole  # packing adds a little, nothing lies there twice
    again = choose(model, CONTEXT, is_exact=False)  # a second decoder, as for an adapter that needs one
    torch.testing.assert_close(steps(decoder, IDS, 30), steps(again, IDS, 30))


def test_int8_rows_go_with_int8_weights() -> None:
    model = made("qwen3", "int8")
    plain, rows = (choose(model, CONTEXT, is_exact=False, kv_cache=kind) for kind in ("plain", "int8"))
    assert packing_from(0, rows).kv_cache == "int8"
    expected, found = (torch.stack(steps(decoder, IDS, 30)).float() for decoder in (plain, rows))
    assert (found - expected).std() / expected.std() < 0.05
