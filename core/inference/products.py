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

from core.models.quantised.linear import QuantisedLinear, fuse

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
    """With the weights as they are. in_fp32: many rows are multiplied in fp32, and rounded back. dtype: of the input,
    where that is another one than the weights'."""

    __slots__ = ("_in_fp32", "_is_converted", "bias", "parts", "weight")

    def __init__(
        self, name: str, module: nn.Linear, *, in_fp32: bool = False, dtype: torch.dtype | None = None
    ) -> None:
        self.parts: tuple[Part, ...] = (Part(name, module.out_features),)
        self._is_converted = dtype not in (None, module.weight.dtype)
        self.weight, self.bias, self._in_fp32 = module.weight, module.bias, in_fp32

    def __call__(self, x: Tensor, /) -> Tensor:
        if self._in_fp32 and x.shape[0] >= FP32_ROWS:
            bias = None if self.bias is None else self.bias.float()
            return F.linear(x.float(), self.weight.float(), bias).to(x.dtype)
        if self._is_converted:
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)
        return F.linear(x, self.weight, self.bias)


class Quantised:
    """Through the forward of a module that knows its own weights. parts: of the modules that it was joined from."""

    __slots__ = ("_forward", "module", "parts")

    def __init__(self, module: Any, *parts: Part) -> None:
        self.module, self.parts = module, parts
        self._forward: Callable[[Tensor], Tensor] = module.forward

    def __call__(self, x: Tensor, /) -> Tensor:
        return self._forward(x)


class Joined:
    """Several products of the same input, their outputs side by side."""

    __slots__ = ("parts", "products")

    def __init__(self, products: Sequence[Product]) -> None:
        self.products = tuple(products)
        self.parts = tuple(part for product in products for part in product.parts)

    def __call__(self, x: Tensor, /) -> Tensor:
        return torch.cat([product(x) for product in self.products], -1)


def is_quantised(module: Any) -> bool:
    return isinstance(module, QuantisedLinear)


def is_known(module: Any) -> bool:
    """A product can be made of this module."""
    return type(module) is nn.Linear or is_quantised(module) or type(module).__module__.startswith("bitsandbytes.")


def product(name: str, module: Any, *, in_fp32: bool, dtype: torch.dtype | None = None) -> Product:
    """dtype: of the input."""
    if type(module) is nn.Linear:
        return Plain(name, module, in_fp32=in_fp32, dtype=dtype)
    return Quantised(module, Part(name, module.out_features))


def fused(names: Sequence[str], modules: Sequence[Any]) -> Product | None:
    """One product for modules of the same input whose weights can be put into one, or lie side by side already
    (card/joining.py); None where neither is so."""
    if (plain := _side_by_side(modules)) is not None:
        joined = Plain("", plain)
        joined.parts = tuple(Part(name, module.out_features) for name, module in zip(names, modules, strict=True))
        return joined
    if not all(is_quantised(module) for module in modules) or len({type(module) for module in modules}) > 1:
        return None
    try:
        whole = fuse(modules)
    except ValueError:  # groups or orders of their own
        return None
    return Quantised(whole, *(Part(name, module.out_features) for name, module in zip(names, modules, strict=True)))


def _side_by_side(modules: Sequence[Any]) -> nn.Linear | None:
    """One module for plain ones whose weights are neighbours in memory; it is a view of them, but for biases."""
    if len(modules) < 2 or not all(type(module) is nn.Linear for module in modules):
        return None
    first, weights = modules[0], [module.weight for module in modules]
    end = weights[0].data_ptr()
    for weight in weights:
        is_next = weight.data_ptr() == end and weight.is_contiguous() and weight.dtype == first.weight.dtype
        if not is_next or weight.untyped_storage().data_ptr() != weights[0].untyped_storage().data_ptr():
            return None
        end += weight.nbytes
    rows, device = sum(module.out_features for module in modules), weights[0].device
    whole = nn.Linear(first.in_features, rows, bias=any(m.bias is not None for m in modules), device="meta")
    shape, strides = (rows, first.in_features), (first.in_features, 1)
    joined = weights[0].detach().as_strided(shape, strides, weights[0].storage_offset())
    whole.weight = nn.Parameter(joined, requires_grad=False)
    if whole.bias is not None:
        none = [joined.new_zeros(module.out_features, device=device) for module in modules]
        parts = [zeros if m.bias is None else m.bias.detach() for m, zeros in zip(modules, none, strict=True)]
        whole.bias = nn.Parameter(torch.cat(parts), requires_grad=False)
    return whole


def has_bf16_products() -> bool:
    """This CPU multiplies bf16 matrices at full speed."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
