"""What multiplies by a quantised weight, and the plain way of doing it.

Invariant: a product owns its weight and can give it back exactly, whatever it packed it into; nothing is held twice.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn import functional as F

from core.models.quantised.weight import QuantisedWeight


class Product(Protocol):
    """name: for people and the log, "dequantise", "fbgemm" ..."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    def __call__(self, x: Tensor) -> Tensor:
        """(tokens, in), the columns in the order of the codes -> (tokens, out), in the precision of x; no gradient."""
        ...

    def weight(self) -> QuantisedWeight: ...


class Dequantising:
    """The reference: weights to floating point, block by block, and an ordinary product."""

    name = "dequantise"

    def __init__(self, weight: QuantisedWeight) -> None:
        self._weight = weight

    @property
    def size_bytes(self) -> int:
        return self._weight.size_bytes

    def __call__(self, x: Tensor) -> Tensor:
        return multiply_dequantised(x, self._weight)

    def weight(self) -> QuantisedWeight:
        return self._weight


def multiply_dequantised(x: Tensor, weight: QuantisedWeight) -> Tensor:
    """On the processor in fp32, which is also its fastest way for many tokens; on a card in the precision of x."""
    wide = x if x.is_cuda else x.float()
    out = wide.new_empty(x.shape[0], weight.out_features)
    for start, stop, block in weight.blocks():
        out[:, start:stop] = F.linear(wide, block.to(wide.dtype))
    return out.to(x.dtype)
