"""Which product multiplies by quantised weights on a card: ours by Triton, where it is right and faster there.

Invariant: codes stay as they are kept, so a layer goes from one product to another without a second copy of them; and
rows by the many, as prompts bring them, are multiplied by dequantised weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.inference.card.graph import CaptureFailed, captured
from core.models.quantised.linear import QuantisedLinear
from core.models.quantised.product import Product, multiply_dequantised
from core.models.quantised.weight import QuantisedWeight

log = logging.getLogger("inference")

FEW_ROWS = 8  # up to here the kernels read the weights again for every row, from the card's cache
ALLOWED = 0.02  # relative to the reference; a wrong layout gives 1
TIMED = 20

Multiply = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


class _Triton:
    """scales and zeros: as the kernel reads them."""

    name = ""

    def __init__(self, weight: QuantisedWeight, multiply: Multiply) -> None:
        self._codes, self._order, self._bits = weight.codes.contiguous(), weight.order, weight.bits
        self._scales, self._zeros = weight.scales.T.contiguous(), None
        if weight.zeros is not None:
            self._zeros = weight.zeros.T.contiguous()
        self._multiply = multiply

    @property
    def size_bytes(self) -> int:
        tensors = (self._codes, self._scales, self._zeros, self._order)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > FEW_ROWS:
            return multiply_dequantised(x, self.weight())
        return self._multiply(x.contiguous(), self._codes, self._scales, self._zeros)

    def weight(self) -> QuantisedWeight:
        zeros = None if self._zeros is None else self._zeros.T
        return QuantisedWeight(self._codes, self._scales.T, zeros, self._order, self._bits)


class TritonInt4(_Triton):
    name = "triton_int4"

    def __init__(self, weight: QuantisedWeight) -> None:
        from core.inference.card.kernels import int4_product

        super().__init__(weight, int4_product.multiply)


class TritonInt8(_Triton):
    name = "triton_int8"

    def __init__(self, weight: QuantisedWeight) -> None:
        from core.inference.card.kernels import int8_product

        super().__init__(weight, int8_product.multiply)


def prefer_kernels(model: Any) -> None:
    """Have quantised layers multiply by our kernels where these are right and faster than what they use now."""
    wholes = {id(layer.whole): layer.whole for layer in model.modules() if isinstance(layer, QuantisedLinear)}.values()
    verdicts: dict[tuple[int, int, str], bool] = {}
    for layer in wholes:
        weight = layer.weight_of()
        make = taken(weight)
        if make is None:
            continue
        key = (weight.bits, weight.group_size, layer.backend)
        if key not in verdicts:
            verdicts[key] = _is_better(make, weight, layer.product)
        if verdicts[key]:
            layer.use(make, f"backend_int{weight.bits}_triton")


def taken(weight: QuantisedWeight) -> Callable[[QuantisedWeight], Product] | None:
    """The product that can multiply by it."""
    if weight.bits == 8:
        return TritonInt8 if weight.groups == 1 else None
    return TritonInt4 if weight.group_size in (32, 64, 128, 256) else None


def _is_better(make: Callable[[QuantisedWeight], Product], weight: QuantisedWeight, now: Product) -> bool:
    """Of the layer's own weight, and of the product that it has."""
    x = torch.randn(1, weight.in_features, device=weight.codes.device, dtype=torch.bfloat16)
    try:
        product = make(weight)
        found = product(x).float()
    except RuntimeError as error:
        log.warning("%d bit weights keep %s: %s", weight.bits, now.name, str(error).splitlines()[0])
        return False
    expected = multiply_dequantised(x, weight).float()
    off = float((found - expected).norm() / expected.norm())
    if not off < ALLOWED:
        log.warning("%s differs from the reference by %.3g and is not used", product.name, off)
        return False
    ours, theirs = _seconds(product, x), _seconds(now, x)
    log.info("%s takes %.1f us, %s %.1f us", product.name, 1e6 * ours, now.name, 1e6 * theirs)
    return ours < theirs


def _seconds(product: Product, x: Tensor) -> float:
    """Of one of many in a graph, as it will be used: launched one by one, the host's time would be compared."""

    def call() -> None:
        for _ in range(TIMED):
            product(x)

    try:
        replay = captured(call, [], x.device)
    except CaptureFailed:
        return float("inf")
    make: Any = torch.cuda.Event
    begin, end = make(enable_timing=True), make(enable_timing=True)
    replay()
    begin.record()
    replay()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000 / TIMED
