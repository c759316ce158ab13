"""Half precision weights multiplied in fp32 inside a transformers module, on processors slow in half precision.

Owns when that is done: a bf16 product of n rows takes n times that of one row there, while an fp32 one hardly grows.
Invariant: results come back in the precision that the module computes in, rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from core.inference.products import FP32_ROWS, has_bf16_products

HALF = (torch.bfloat16, torch.float16)


def wide_products(model: Any) -> AbstractContextManager[Any]:
    """What to run passes of `model` in, for those who may compute in another precision than its own."""
    is_slow = model.device.type == "cpu" and model.dtype in HALF and not has_bf16_products()
    return _WideProducts() if is_slow else nullcontext()


class _WideProducts(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and _has_many_rows(args[0], args[1]):
            return _widened(func, args, kwargs)
        if func is F.scaled_dot_product_attention and _has_many_rows(args[0][0, 0], args[1]):
            return _widened(func, args, kwargs)
        return func(*args, **kwargs)


def _has_many_rows(x: Tensor, other: Tensor) -> bool:
    return other.dtype in HALF and other.device.type == "cpu" and x.numel() >= FP32_ROWS * x.shape[-1]


def _widened(func: Callable[..., Tensor], args: Iterable[Any], kwargs: Mapping[str, Any]) -> Tensor:
    args = tuple(args)
    named = {name: _wide(value) for name, value in kwargs.items()}
    return func(*map(_wide, args), **named).to(args[0].dtype)


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value
