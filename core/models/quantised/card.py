"""The 4 bit product on NVIDIA cards of compute capability 8.0 and later: torch's own kernel (tinygemm), in bf16.

The kernel's layout is not documented and may change; it is learnt from the packing itself, tile by tile, and used only
where a round trip and a product agree with the reference. Never run on the machine this was written on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from core.models.quantised.product import multiply_dequantised
from core.models.quantised.weight import QuantisedWeight, join_nibbles, kernel_parameters, split_nibbles

FEW_ROWS = 16  # above, dequantising and an ordinary product are faster
INNER_TILES = 8
TILE = (8, 16 * INNER_TILES)  # rows and columns of weights that are packed together

_aten: Any = torch.ops.aten

Pack = Callable[[Tensor], Tensor]


class Tinygemm:
    """`places` is what `learn_tile` found for this card."""

    name = "tinygemm"

    def __init__(self, weight: QuantisedWeight, places: Tensor, group: int) -> None:
        self._shape, self._places, self._group = (weight.out_features, weight.in_features), places, group
        self._packed = pack(weight.codes)
        self._parameters = kernel_parameters(weight, group)
        self._scales, self._zeros, self._order = weight.scales, weight.zeros, weight.order

    @property
    def size_bytes(self) -> int:
        small = (self._parameters, self._scales, self._zeros, self._order)
        return self._packed.nbytes + sum(tensor.nbytes for tensor in small if tensor is not None)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > FEW_ROWS:
            return multiply_dequantised(x, self.weight())
        narrow = x.to(torch.bfloat16)
        out: Tensor = _aten._weight_int4pack_mm(narrow, self._packed, self._group, self._parameters)
        return out.to(x.dtype)

    def weight(self) -> QuantisedWeight:
        codes = join_nibbles(unpack(self._packed, self._shape, self._places))
        return QuantisedWeight(codes, self._scales, self._zeros, self._order, 4)


def fits(weight: QuantisedWeight) -> bool:
    """Its shape is a whole number of tiles."""
    return weight.out_features % TILE[0] == 0 and weight.in_features % TILE[1] == 0


def pack(codes: Tensor) -> Tensor:
    """(out, in / 2) bytes -> the kernel's own layout."""
    packed: Tensor = _aten._convert_weight_to_int4pack(codes, INNER_TILES)
    return packed


@lru_cache(maxsize=8)
def learnt(device: torch.device) -> Tensor | None:
    """The layout on this card; None when it is not understood."""
    places = learn_tile(pack, device)
    check = torch.randint(0, 16, (4 * TILE[0], 4 * TILE[1]), dtype=torch.uint8, device=device)
    is_understood = torch.equal(unpack(pack(join_nibbles(check)), (check.shape[0], check.shape[1]), places), check)
    return places if is_understood else None


def learn_tile(pack: Pack, device: torch.device) -> Tensor:
    """Where each code of one tile lies in the packed nibbles: its number is packed, a hexadecimal digit at a time."""
    count = TILE[0] * TILE[1]
    numbers = torch.arange(count, device=device)
    found = torch.zeros(count, dtype=torch.int64, device=device)
    for shift in range(0, count.bit_length(), 4):
        digits = (numbers >> shift & 15).to(torch.uint8).view(TILE)
        found |= _nibbles(pack(join_nibbles(digits))).long() << shift
    return torch.argsort(found)


def unpack(packed: Tensor, shape: tuple[int, int], places: Tensor) -> Tensor:
    """The codes, uint8 (out, in)."""
    down, across = shape[0] // TILE[0], shape[1] // TILE[1]
    tiles = _nibbles(packed).view(down * across, -1).index_select(1, places)
    return tiles.view(down, across, *TILE).transpose(1, 2).reshape(shape)


def _nibbles(packed: Tensor) -> Tensor:
    return split_nibbles(packed.contiguous().flatten().view(torch.uint8))
