"""Products on the processor: torch's packed 4 bit kernel, and its 8 bit kernel fed so that activations keep their bits.

The 8 bit kernel (fbgemm) takes activations of 7 bits; more would overflow on older processors. That ruins answers: with
the starter model every fourth choice of a token changes. So every row is given to it twice: rounded, and together with
what rounding lost, enlarged. That is as good as 12 to 14 bits and changes no more than rounding the weights does; since
the weights are read once for both rows, it costs little.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from core.models.quantised.product import multiply_dequantised
from core.models.quantised.weight import QuantisedWeight, join_nibbles, kernel_parameters

LEVELS = 127  # of an activation: 0 to 127
MIDDLE = 64
HALF = 63  # steps on either side of the middle, for rows that share a zero
GAIN = 2.0 * HALF  # what rounding loses is half a step at most
ROW_SPAN, ROW_GAIN = 63, 63.0  # one row alone: steps from its smallest to its largest value; half of them are left

_quantised: Any = torch.ops.quantized
_aten: Any = torch.ops.aten


def _announce() -> None:
    """Let torch say, where nobody hears it, that its quantised tensors will go one day; it says so once a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)


_announce()


# --- 4 bits -------------------------------------------------------------------


class Int4Packed:
    """torch's kernel for few rows, in bf16; above `few` rows dequantised blocks in fp32, which then are faster.

    block: how many rows of weights the kernel puts side by side on this processor
    """

    name = "int4pack"

    def __init__(self, weight: QuantisedWeight, group: int, *, block: int, few: int) -> None:
        self._group, self._block, self._few = group, block, few
        self._packed = pack(weight.unpacked(), block)
        self._parameters = kernel_parameters(weight, group)
        self._order, self._has_zeros = weight.order, weight.zeros is not None
        # The kernel's own can be turned back where they were not rounded for it.
        is_exact = weight.scales.dtype == torch.bfloat16 and group == weight.group_size
        is_exact = is_exact and (weight.zeros is None or not weight.zeros.is_floating_point())
        self._kept = None if is_exact else (weight.scales, weight.zeros)

    @property
    def size_bytes(self) -> int:
        scales, zeros = self._kept or (None, None)
        tensors = (self._packed, self._parameters, self._order, scales, zeros)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > self._few:
            return multiply_dequantised(x, self.weight())
        narrow = x.to(torch.bfloat16)
        out: Tensor = _aten._weight_int4pack_mm_for_cpu(narrow, self._packed, self._group, self._parameters)
        return out.to(x.dtype)

    def weight(self) -> QuantisedWeight:
        codes = join_nibbles(unpack(self._packed, self._block))
        scales, zeros = self._kept or self._turned_back()
        return QuantisedWeight(codes, scales, zeros, self._order, 4)

    def _turned_back(self) -> tuple[Tensor, Tensor | None]:
        scales, offsets = self._parameters.permute(2, 1, 0).contiguous()
        if not self._has_zeros:
            return scales, None
        return scales, (8 - offsets.float() / scales.float()).round_().to(torch.uint8)


def fits(weight: QuantisedWeight) -> bool:
    """The kernel takes this many outputs."""
    return weight.out_features % 16 == 0


def pack_by_torch(codes: Tensor) -> Tensor:
    """uint8 (out, in) -> torch's packed weights; what `pack` has to give, several times slower."""
    packed: Tensor = _aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    return packed


def pack(codes: Tensor, block: int) -> Tensor:
    """uint8 (out, in) -> torch's packed weights, uint8 (out, in / 2).

    A block of rows lies column by column, row i of it in the low half of a byte and row i + block / 2 in the high one;
    rows that fill no block lie in neighbouring pairs.
    """
    outputs, inputs = codes.shape
    whole = outputs - outputs % block
    halves = codes[:whole].view(-1, 2, block // 2, inputs)
    tiles = ((halves[:, 1] << 4) | halves[:, 0]).transpose(1, 2).reshape(whole, inputs // 2)
    tiles = tiles.contiguous()  # a single square block is only a view so far, which the kernel refuses
    if whole == outputs:
        return tiles
    rest = (codes[whole + 1 :: 2] << 4) | codes[whole::2]
    return torch.cat((tiles, rest.T.reshape(-1, inputs // 2)))


def unpack(packed: Tensor, block: int) -> Tensor:
    """What `pack` was given."""
    outputs, inputs = packed.shape[0], packed.shape[1] * 2
    whole = outputs - outputs % block
    tiles = packed[:whole].reshape(-1, inputs, block // 2)
    codes = torch.cat((tiles & 15, tiles >> 4), -1).transpose(1, 2).reshape(whole, inputs)
    if whole == outputs:
        return codes
    pairs = packed[whole:].reshape(inputs, -1)
    rest = torch.stack((pairs & 15, pairs >> 4), -1).flatten(1)
    return torch.cat((codes, rest.T))


# --- 8 bits -------------------------------------------------------------------


class Int8Packed:
    """fbgemm with a scale per output, activations in 14 bits, each row of them with a scale of its own."""

    name = "fbgemm"

    def __init__(self, weight: QuantisedWeight) -> None:
        self._packed = _pack(_signed(weight), weight, 0)
        self._scales, self._zeros, self._order = weight.scales, weight.zeros, weight.order
        self._code_bytes = weight.codes.nbytes
        self._both = torch.tensor([[0.0], [ROW_GAIN]])
        self._join = torch.tensor([[1 - 1 / ROW_GAIN, 1 / ROW_GAIN]])
        self._multiply = _quantised.linear_with_input_q_dq_qweight_dq_output_fp32.default

    @property
    def size_bytes(self) -> int:
        small = (self._scales, self._zeros, self._order)
        return self._code_bytes + sum(tensor.nbytes for tensor in small if tensor is not None)

    def __call__(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float32 else x.float()
        out = self._row(wide) if x.shape[0] == 1 else self._rows(wide)
        return out if x.dtype == torch.float32 else out.to(x.dtype)

    def _row(self, x: Tensor) -> Tensor:
        """With as few calls as it takes: for a small model they cost as much as the product."""
        fine, fine_zero = torch._choose_qparams_per_tensor(x, True)  # its range in LEVELS steps
        step = fine * (LEVELS / ROW_SPAN)
        zero = round(fine_zero * (ROW_SPAN / LEVELS)) + (LEVELS - ROW_SPAN) // 2
        rounded = torch.quantize_per_tensor(x, step, zero, torch.quint8).dequantize()
        pair = torch.lerp(rounded, x, self._both)  # rounded, rounded + gain * lost
        return torch.mm(self._join, self._multiply(pair, step, zero, self._packed))

    def _rows(self, x: Tensor) -> Tensor:
        pairs, step = _split_rows(x)
        return _joined(self._multiply(pairs, 1.0, MIDDLE, self._packed), x.shape[0]).mul_(step)

    def weight(self) -> QuantisedWeight:
        codes = _unpacked(self._packed).view(torch.uint8) ^ 128
        return QuantisedWeight(codes, self._scales, self._zeros, self._order, 8)


class Int8Grouped:
    """As Int8Packed where groups of columns have scales of their own: one small product a group."""

    name = "fbgemm_groups"

    def __init__(self, weight: QuantisedWeight) -> None:
        codes = _signed(weight).view(weight.out_features, weight.groups, weight.group_size)
        self._packed = [_pack(codes[:, group].contiguous(), weight, group) for group in range(weight.groups)]
        self._scales, self._zeros, self._order = weight.scales, weight.zeros, weight.order
        self._code_bytes = weight.codes.nbytes
        self._multiply = _quantised.linear_with_input_q_dq_qweight_dq_output_fp32.default

    @property
    def size_bytes(self) -> int:
        small = (self._scales, self._zeros, self._order)
        return self._code_bytes + sum(tensor.nbytes for tensor in small if tensor is not None)

    def __call__(self, x: Tensor) -> Tensor:
        pairs, step = _split_rows(x.float())
        parts = pairs.view(pairs.shape[0], len(self._packed), -1).transpose(0, 1).contiguous().unbind(0)
        both: Tensor = self._multiply(parts[0], 1.0, MIDDLE, self._packed[0])
        for part, packed in zip(parts[1:], self._packed[1:], strict=True):
            both += self._multiply(part, 1.0, MIDDLE, packed)
        return _joined(both, x.shape[0]).mul_(step).to(x.dtype)

    def weight(self) -> QuantisedWeight:
        codes = torch.cat([_unpacked(packed) for packed in self._packed], 1).view(torch.uint8) ^ 128
        return QuantisedWeight(codes, self._scales, self._zeros, self._order, 8)


def _signed(weight: QuantisedWeight) -> Tensor:
    """The codes less 128, int8."""
    return weight.codes.view(torch.int8) ^ -128


def _pack(codes: Tensor, weight: QuantisedWeight, group: int) -> Any:
    scales = weight.scales[:, group].double().contiguous()
    zeros = torch.zeros_like(scales, dtype=torch.int64)
    if weight.zeros is not None:
        zeros = weight.zeros[:, group].long() - 128
    return _quantised.linear_prepack(torch._make_per_channel_quantized_tensor(codes, scales, zeros, 0), None)


def _unpacked(packed: Any) -> Tensor:
    codes: Tensor = _quantised.linear_unpack(packed)[0].int_repr()
    return codes


def _split_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, in) -> the rounded rows and then what rounding lost, (2 rows, in), in steps; and the steps, (rows, 1)."""
    step = x.abs().amax(1, keepdim=True).div_(HALF).clamp_(min=torch.finfo(torch.float32).tiny)
    scaled = x / step
    rounded = scaled.round()
    return torch.cat((rounded, (scaled - rounded).mul_(GAIN))), step


def _joined(both: Tensor, rows: int) -> Tensor:
    return torch.add(both[:rows], both[rows:], alpha=1 / GAIN)
