"""The one layout in which quantised weights are kept, loaded and saved; whatever multiplies by them packs from it once.

Invariant: `dequantised` is exact in fp32 (codes of at most 8 bits times scales of at most 16), so it is the reference
every faster way is held to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Bits = Literal[4, 8]
BLOCK_BYTES = 2**21  # of weights dequantised at once: they stay in the processor's cache
CARD_BLOCK_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class QuantisedWeight:
    """The weights of one linear layer: scale * (code - zero).

    codes: uint8, (out, in) of 8 bits, (out, in / 2) of 4 bits, the even column in the high half of the byte
    scales: (out, groups), floating; a group is in / groups neighbouring columns
    zeros: (out, groups), integers, or fp16 where a zero lies between two codes (in steps of 1 / 64); None where all of
        them are the middle, 2 ** (bits - 1)
    order: (in,), int64: column j belongs to element order[j] of the input; None where that is j
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor | None
    order: Tensor | None
    bits: Bits

    @property
    def out_features(self) -> int:
        return self.codes.shape[0]

    @property
    def in_features(self) -> int:
        return self.codes.shape[1] * 8 // self.bits

    @property
    def groups(self) -> int:
        return self.scales.shape[1]

    @property
    def group_size(self) -> int:
        return self.in_features // self.groups

    @property
    def middle(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def size_bytes(self) -> int:
        tensors = (self.codes, self.scales, self.zeros, self.order)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def rows(self, start: int, stop: int) -> QuantisedWeight:
        """Some of the outputs; shares the memory."""
        zeros = None if self.zeros is None else self.zeros[start:stop]
        return replace(self, codes=self.codes[start:stop], scales=self.scales[start:stop], zeros=zeros)

    def to(self, device: torch.device) -> QuantisedWeight:
        return QuantisedWeight(
            codes=self.codes.to(device),
            scales=self.scales.to(device),
            zeros=None if self.zeros is None else self.zeros.to(device),
            order=None if self.order is None else self.order.to(device),
            bits=self.bits,
        )

    def unpacked(self) -> Tensor:
        """The codes one to a byte: uint8, (out, in)."""
        return self.codes if self.bits == 8 else split_nibbles(self.codes)

    def dequantised(self) -> Tensor:
        """fp32, (out, in), the columns in the order of the codes, not of the input: see `order`."""
        grouped = (self.out_features, self.groups, self.group_size)
        values = self.unpacked().view(grouped).float()
        values.sub_(self.middle if self.zeros is None else self.zeros[..., None].float())
        return values.mul_(self.scales[..., None].float()).view(self.out_features, self.in_features)

    def blocks(self) -> Iterator[tuple[int, int, Tensor]]:
        """`dequantised` in parts of some rows: (start, stop, weights)."""
        step = max((CARD_BLOCK_BYTES if self.codes.is_cuda else BLOCK_BYTES) // (4 * self.in_features), 16)
        for start in range(0, self.out_features, step):
            stop = min(start + step, self.out_features)
            yield start, stop, self.rows(start, stop).dequantised()

    def in_order_of_input(self, values: Tensor) -> Tensor:
        """Turns (..., in) columns that are in the order of the codes into those of the input."""
        if self.order is None:
            return values
        return values.index_select(-1, torch.argsort(self.order))


def split_nibbles(packed: Tensor) -> Tensor:
    """(..., n) bytes -> (..., 2n) codes of 4 bits, the high half first."""
    return torch.stack((packed >> 4, packed & 15), -1).flatten(-2)


def join_nibbles(codes: Tensor) -> Tensor:
    """(..., 2n) codes of 4 bits -> (..., n) bytes."""
    return (codes[..., ::2] << 4) | codes[..., 1::2]


KERNEL_GROUPS = (256, 128, 64, 32)  # columns that may share a scale in torch's 4 bit kernels


def kernel_group(weight: QuantisedWeight) -> int:
    """The width of such a kernel's groups: ours, or a part of it with the scales repeated; 0 when there is none."""
    return next((group for group in KERNEL_GROUPS if weight.group_size % group == 0), 0)


def kernel_parameters(weight: QuantisedWeight, group: int) -> Tensor:
    """Scales and zeros as these kernels read them: w = scale * (code - 8) + zero; bf16, (groups, out, 2)."""
    scales = weight.scales.float()
    zeros = torch.zeros_like(scales) if weight.zeros is None else (8 - weight.zeros.float()) * scales
    pairs = torch.stack((scales.T, zeros.T), -1)
    return pairs.repeat_interleave(weight.group_size // group, 0).bfloat16().contiguous()


def stacked(weights: tuple[QuantisedWeight, ...]) -> QuantisedWeight:
    """The weights of layers that read the same input, one after the other, as those of one layer.

    Raises:
        ValueError: they are of different kinds (bits, groups, order of the input).
    """
    first = weights[0]
    kinds = {(weight.bits, weight.groups, weight.in_features) for weight in weights}
    if len(kinds) > 1:
        raise ValueError("weights of different kinds")
    if any(not _same_order(w.order, first.order) for w in weights):
        raise ValueError("inputs in different orders")
    zeros = None
    if any(w.zeros is not None for w in weights):
        zeros = torch.cat([_zeros(w) for w in weights])
    return QuantisedWeight(
        codes=torch.cat([w.codes for w in weights]),
        scales=torch.cat([w.scales for w in weights]),
        zeros=zeros,
        order=first.order,
        bits=first.bits,
    )


def _zeros(weight: QuantisedWeight) -> Tensor:
    if weight.zeros is not None:
        return weight.zeros
    return torch.full_like(weight.scales, weight.middle, dtype=torch.uint8)


def _same_order(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)
