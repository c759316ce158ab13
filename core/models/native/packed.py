"""Quantised weights as the native product reads them, and that product.

Invariant: it gives the same numbers for a row whatever other rows come with it, and the weight can be had back exactly.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F

from core.models.native.library import library
from core.models.native.structures import Linear
from core.models.quantised.weight import QuantisedWeight, join_nibbles, split_nibbles

TILE = 16  # outputs that lie together
BLOCK = 32  # inputs that share a scale of their own
ZERO_PARTS = 256  # a zero is kept in so many parts of a step of the codes
LARGEST_ZERO = 255


def fits(weight: QuantisedWeight) -> bool:
    """Groups are whole blocks, zeros not too large, and the weight is on the processor."""
    if weight.group_size % BLOCK or weight.codes.is_cuda:
        return False
    return weight.zeros is None or weight.zeros.dtype == torch.uint8 or float(weight.zeros.max()) <= LARGEST_ZERO


class Native:
    """A product by 4 or 8 bits. linear: how the step finds it."""

    name = "native"

    def __init__(self, weight: QuantisedWeight) -> None:
        """
        Raises:
            RuntimeError: there is no native library here.
        """
        found = library()
        if found is None:
            raise RuntimeError("no native library")
        self._product = found.qw_product
        self._bits, self._order = weight.bits, weight.order
        self._outputs, self._inputs = weight.out_features, weight.in_features
        self._codes = pack(weight.codes, weight.bits)
        self._scales, self._scale_dtype = _tiled(weight.scales.float()), weight.scales.dtype
        self._zeros = None if weight.zeros is None else _tiled(weight.zeros.float() * ZERO_PARTS).to(torch.uint16)
        self._zero_dtype = None if weight.zeros is None else weight.zeros.dtype
        self.linear = Linear(
            self._codes.data_ptr(), self._scales.data_ptr(), 0 if self._zeros is None else self._zeros.data_ptr(),
            outputs=self._outputs, inputs=self._inputs, groups=weight.groups, kind=weight.bits,
        )  # fmt: skip
        self._at = ctypes.addressof(self.linear)

    @property
    def is_in_order(self) -> bool:
        """Columns are in the order of the input."""
        return self._order is None

    @property
    def size_bytes(self) -> int:
        tensors = (self._codes, self._scales, self._zeros, self._order)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def __call__(self, x: Tensor) -> Tensor:
        wide = (x if x.dtype == torch.float32 else x.float()).contiguous()
        out = torch.empty(wide.shape[0], self._outputs)
        self._product(self._at, wide.data_ptr(), wide.shape[0], out.data_ptr(), torch.get_num_threads())
        return out if x.dtype == torch.float32 else out.to(x.dtype)

    def weight(self) -> QuantisedWeight:
        codes = unpack(self._codes, self._bits)[: self._outputs]
        scales = _untiled(self._scales)[: self._outputs].to(self._scale_dtype)
        zeros = None
        if self._zeros is not None:
            zeros = (_untiled(self._zeros.float())[: self._outputs] / ZERO_PARTS).to(self._zero_dtype)
        return QuantisedWeight(codes, scales, zeros, self._order, self._bits)


def pack(codes: Tensor, bits: int) -> Tensor:
    """As QuantisedWeight has them -> (tiles, in / 4, 16, 4), of 4 bits (tiles, in / 8, 16, 4); see products.hpp."""
    padded = F.pad(codes, (0, 0, 0, -codes.shape[0] % TILE))
    tiles = padded.shape[0] // TILE
    if bits == 8:
        return padded.view(tiles, TILE, -1, 4).transpose(1, 2).contiguous()
    fours = split_nibbles(padded).view(tiles, TILE, -1, 2, 4)
    return (fours[:, :, :, 0] | fours[:, :, :, 1] << 4).transpose(1, 2).contiguous()


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The other way round, with the outputs that fill the last tile."""
    rows = packed.transpose(1, 2)
    if bits == 8:
        return rows.reshape(packed.shape[0] * TILE, -1)
    return join_nibbles(torch.stack((rows & 15, rows >> 4), 3).reshape(packed.shape[0] * TILE, -1))


def _tiled(values: Tensor) -> Tensor:
    """(out, groups) -> (tiles, groups, 16)"""
    padded = F.pad(values, (0, 0, 0, -values.shape[0] % TILE))
    return padded.view(-1, TILE, values.shape[1]).transpose(1, 2).contiguous()


def _untiled(values: Tensor) -> Tensor:
    return values.transpose(1, 2).reshape(-1, values.shape[1])
