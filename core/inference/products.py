"""The linear maps of a model as the lean pass calls them: (tokens, in) -> (tokens, out), whatever their weights are.

Invariant: a product computes with the module's own tensors, never with copies, and says which modules it stands for, so
that an adapter finds the outputs it has to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# From so many rows on, products in fp32 (weights converted on the way) beat bf16 on a CPU without bf16 instructions.
FP32_ROWS = 8


class Part(NamedTuple):
    """name: of a linear module within its model; width: of its output."""

    name: str
    width: int


class Product(Protocol):
    """Callable, and honest about its origin: its output is that of `parts`, one after the other."""

    @property
    def parts(self) -> tuple[Part, ...]: ...

    def __call__(self, x: Tensor, /) -> Tensor: ...


class Plain:
    """With the weights as they are. in_fp32: many rows are multiplied in fp32, and rounded back."""

    __slots__ = ("_bias", "_in_fp32", "_weight", "parts")

    def __init__(self, name: str, module: nn.Linear, *, in_fp32: bool = False) -> None:
        self.parts = (Part(name, module.out_features),)
        self._weight, self._bias, self._in_fp32 = module.weight, module.bias, in_fp32

    def __call__(self, x: Tensor, /) -> Tensor:
        if self._in_fp32 and x.shape[0] >= FP32_ROWS:
            bias = None if self._bias is None else self._bias.float()
            return F.linear(x.float(), self._weight.float(), bias).to(x.dtype)
        return F.linear(x, self._weight, self._bias)


class Quantised:
    """Through the forward of a module that knows its own weights."""

    __slots__ = ("_forward", "parts")

    def __init__(self, name: str, module: Any) -> None:
        self.parts = (Part(name, module.out_features),)
        self._forward: Callable[[Tensor], Tensor] = module.forward

    def __call__(self, x: Tensor, /) -> Tensor:
        return self._forward(x)


class Joined:
    """Several products of the same input, their outputs side by side."""

    __slots__ = ("_products", "parts")

    def __init__(self, products: Sequence[Product]) -> None:
        self._products = tuple(products)
        self.parts = tuple(part for product in products for part in product.parts)

    def __call__(self, x: Tensor, /) -> Tensor:
        return torch.cat([product(x) for product in self._products], -1)


def is_known(module: Any) -> bool:
    """A product can be made of this module."""
    return type(module) is nn.Linear or type(module).__module__.startswith("bitsandbytes.")


def product(name: str, module: Any, *, in_fp32: bool) -> Product:
    return Plain(name, module, in_fp32=in_fp32) if type(module) is nn.Linear else Quantised(name, module)


def has_bf16_products() -> bool:
    """This CPU multiplies bf16 matrices at full speed."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
