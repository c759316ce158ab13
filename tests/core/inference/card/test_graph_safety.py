"""A step can be captured: on torch's meta device, where tensors have shapes but no values, it asks for none.

That device refuses whatever needs a value on the host (`.item()`, masks that choose rows); the record of operations
shows what is left: the same ones at every position, and no tensor made anywhere else.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from core.chat.turns import Sampling
from core.inference.card import loop
from core.inference.card.decoder import CardDecoder
from core.inference.card.rows import StaticInt8Rows, in_8_bits
from core.inference.card.step import Step
from core.inference.kv_int8 import ChannelSizes
from core.inference.sampling import Sampler
from tests.helpers import tiny_models, tiny_qwen_v1

CONTEXT = 128
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0)
WAYS = {
    "greedy": GREEDY,
    "top-k": Sampling(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05),
    "top-p": Sampling(temperature=0.7, top_p=0.8, top_k=0, repetition_penalty=1.0),
    "all": Sampling(temperature=0.7, top_p=1.0, top_k=0, repetition_penalty=1.0),
}


class Operation(NamedTuple):
    name: str
    shapes: tuple[Any, ...]
    devices: frozenset[str]


class Record(TorchDispatchMode):
    """Every operation that reaches a device."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [part for part in (found if isinstance(found, (tuple, list)) else [found]) if hasattr(part, "shape")]
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        self.operations.append(Operation(str(func), shapes, frozenset(tensor.device.type for tensor in tensors)))
        return found


@lru_cache
def model(name: str) -> Any:
    return tiny_qwen_v1.model(torch.bfloat16) if name == "qwen_v1" else tiny_models.model(name, torch.bfloat16)


def without_values(name: str) -> Any:
    """The model on torch's meta device."""
    return copy.deepcopy(model(name)).to("meta")


def begun(model: Any, sampling: Sampling, *, at: int, packs: bool = False) -> tuple[loop.Loop, CardDecoder]:
    decoder = CardDecoder(model, CONTEXT, is_exact=False)
    cache = decoder.new_cache(at)
    if packs:
        like = torch.ones(decoder._kv_heads, 1, decoder._width, device=model.device)
        sizes = [ChannelSizes(like) for _ in range(decoder.layer_count)]
        decoder.keeping = in_8_bits(decoder.arithmetic, CONTEXT, sizes)
        cache = decoder.new_cache(at)
    for index in range(decoder.layer_count):
        rows = torch.zeros(decoder._kv_heads, at, decoder._width, device=model.device, dtype=torch.bfloat16)
        cache.write(index, rows, rows)
    cache.advance(at)
    return decoder.begun(cache, 7, Sampler(sampling, range(at), 450), {3, 4}), decoder


def recorded(running: loop.Loop, new: int) -> list[Operation]:
    tables = running._positions.rows(0, running._layers[0].room, running._alpha)
    step = Step(running.parts, running._layers, tables, running._operations, running._layers[0].room)
    with torch.inference_mode(), Record() as record:
        running.advance(step, new)
    return record.operations


@pytest.mark.parametrize("new", [1, 4])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "qwen_v1"])
def test_nothing_is_asked_of_the_host(name: str, new: int) -> None:
    moved = without_values(name)
    running, _ = begun(moved, GREEDY, at=9)
    operations = recorded(running, new)
    assert {device for operation in operations for device in operation.devices} == {"meta"}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_choosing_asks_for_a_value(way: str) -> None:
    moved = without_values("qwen3")
    running, _ = begun(moved, WAYS[way], at=9)
    operations = recorded(running, 1)
    assert {device for operation in operations for device in operation.devices} == {"meta"}


def test_nor_do_rows_of_8_bits() -> None:
    moved = without_values("qwen3")
    running, _ = begun(moved, GREEDY, at=9, packs=True)
    assert isinstance(running._layers[0], StaticInt8Rows)
    operations = recorded(running, 1)
    assert {device for operation in operations for device in operation.devices} == {"meta"}


@pytest.mark.parametrize("way", WAYS)
def test_the_operations_are_the_same_at_every_position(way: str) -> None:
    seen = [recorded(begun(model("qwen3"), WAYS[way], at=at)[0], 1) for at in (1, 9, 77)]
    assert seen[0] == seen[1] == seen[2]


def test_a_value_on_the_host_would_be_noticed() -> None:
    """The test of the tests."""
    moved = without_values("qwen3")
    running, _ = begun(moved, GREEDY, at=9)
    running._choosing.pick = lambda logits: torch.tensor([int(logits.argmax())], device="meta")  # type: ignore[method-assign]
    with pytest.raises(Exception, match=r"(?i)data.dependent|_local_scalar_dense|item"):
        recorded(running, 1)
