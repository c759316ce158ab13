"""Weights laid side by side are the same weights, held once, multiplied by in one product."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.inference.architectures import take_apart
from core.inference.card.joining import join
from core.inference.dense import DenseDecoder
from core.inference.products import Joined, Plain
from core.models.quantised import at_load
from tests.helpers import tiny_models, tiny_qwen_v1

IDS = torch.arange(20, 40)[None]


def memory(model: Any) -> int:
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in model.parameters()}
    return sum(storages.values())


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "qwen_v1"])
@torch.inference_mode()
def test_a_joined_model_computes_the_same_from_the_same_bytes(name: str) -> None:
    model: Any = tiny_qwen_v1.model() if name == "qwen_v1" else tiny_models.model(name)
    before, expected, lean = memory(model), model(input_ids=IDS).logits, DenseDecoder(model, 64, is_exact=False)
    names = [part.name for part in take_apart(model, is_exact=False).layers[0].gate_up.parts]
    assert isinstance(take_apart(model, is_exact=False).layers[0].gate_up, Joined)
    assert join(model) == (2 if name == "qwen_v1" else 4)
    assert memory(model) == before
    assert torch.equal(model(input_ids=IDS).logits, expected)
    layer = take_apart(model, is_exact=False).layers[0]
    assert isinstance(layer.gate_up, Plain) and [part.name for part in layer.gate_up.parts] == names
    joined = DenseDecoder(model, 64, is_exact=False)
    for decoder in (lean, joined):  # the one taken apart before sees the same weights
        cache = decoder.new_cache()
        for _ in decoder.read(IDS[0, :-1].tolist(), cache):
            pass
        found = decoder.step(int(IDS[0, -1]), cache)
        torch.testing.assert_close(found, expected[0, -1], atol=2e-4, rtol=2e-4)


def test_quantised_weights_are_left_to_their_own_way_of_joining() -> None:
    model = tiny_models.model("qwen3", torch.bfloat16)
    at_load.quantise(model, "int8", torch.device("cpu"), torch.bfloat16, lambda done, total: None)
    assert join(model) == 0
