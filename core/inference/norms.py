"""Root mean square norms as the lean pass calls them.

Invariant: `Norm` rounds where the modules of transformers round. `WideNorm` is the same in fp32 with half the calls.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Norm:
    """weight: (..., width), of the last axis of what is normed."""

    __slots__ = ("epsilon", "weight")

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        self.weight, self.epsilon = weight, epsilon

    def __call__(self, x: Tensor) -> Tensor:
        # F.rms_norm is slower on a CPU and rounds once less than the module.
        wide = x.float()
        scale = (wide * wide).mean(-1, True).add_(self.epsilon).rsqrt_()
        return self.weight * (wide * scale).type_as(x)


class WideNorm:
    """For fp32: x * weight / sqrt(|x|^2 + width * epsilon). weight: enlarged by the root of the width."""

    __slots__ = ("_least", "epsilon", "weight")

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        width = weight.shape[-1]
        self.weight, self.epsilon = weight.float() * math.sqrt(width), epsilon
        self._least = torch.tensor(math.sqrt(width * epsilon), device=weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        return (x * self.weight).div_(torch.linalg.vector_norm(x, 2, -1, True).hypot_(self._least))


AnyNorm = Norm | WideNorm
