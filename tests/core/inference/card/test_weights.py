"""Our products take over where they are right and faster, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.inference.card import weights
from core.models.quantised import at_load
from core.models.quantised.linear import QuantisedLinear
from core.models.quantised.product import Dequantising, Product
from core.models.quantised.weight import QuantisedWeight
from tests.helpers import tiny_models


class Ours(Dequantising):
    name = "ours"


class Wrong(Ours):
    def __call__(self, x: Tensor) -> Tensor:
        return -super().__call__(x)


class Refusing(Ours):
    def __init__(self, weight: QuantisedWeight) -> None:
        raise RuntimeError("no kernel image is available")


def names_after(monkeypatch: pytest.MonkeyPatch, make: Callable[[QuantisedWeight], Product], ours_s: float) -> set[str]:
    model: Any = tiny_models.model("qwen3", torch.bfloat16)
    at_load.quantise(model, "int4", torch.device("cpu"), torch.bfloat16, lambda done, total: None)
    monkeypatch.setattr(weights, "taken", lambda weight: make)
    monkeypatch.setattr(weights, "_seconds", lambda product, x: ours_s if product.name == "ours" else 1.0)
    weights.prefer_kernels(model)
    return {layer.backend for layer in model.modules() if isinstance(layer, QuantisedLinear)}


def test_the_faster_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names_after(monkeypatch, Ours, 0.5) == {"ours"}
    assert names_after(monkeypatch, Ours, 1.5) == {"dequantise"}


@pytest.mark.errors_logged
@pytest.mark.parametrize("make", [Wrong, Refusing])
def test_a_wrong_one_and_one_that_does_not_run_are_not(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[QuantisedWeight], Product]
) -> None:
    assert names_after(monkeypatch, make, 0.5) == {"dequantise"}
