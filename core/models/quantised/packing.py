"""GPTQ's tensors to quantised weights and back, exactly.

Invariant: what `read` makes of a layer has its codes, zeros and scales, bit by bit; `write` gives the tensors back.
Everything is done on whole tensors, mostly on bytes: a layer of a 7B model takes a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from core.models.quantised.scheme import Scheme
from core.models.quantised.weight import QuantisedWeight, join_nibbles, split_nibbles

_ONES = {4: 0x11111111, 8: 0x01010101}


class Malformed(ValueError):
    """The tensors of a layer do not fit together: their shapes, or groups of different sizes."""


def read(tensors: Mapping[str, Tensor], scheme: Scheme) -> QuantisedWeight:
    """
    tensors, with in and out of the layer and groups = in / group:
        qweight: int32 (in * bits / 32, out), neighbouring inputs in one word, the first in its lowest bits
        qzeros: int32 (groups, out * bits / 32), neighbouring outputs in one word
        scales: (groups, out)
        g_idx: int32 (in,), the group of each input; may be missing where that is input // group

    Raises:
        Malformed: they do not fit together.
    """
    qweight, qzeros, scales = tensors["qweight"], tensors["qzeros"], tensors["scales"]
    inputs, outputs = qweight.shape[0] * 32 // scheme.bits, qweight.shape[1]
    groups = _groups(inputs, scheme)
    if scales.shape != (groups, outputs) or qzeros.shape != (groups, outputs * scheme.bits // 32):
        raise Malformed(f"scales {tuple(scales.shape)}, qzeros {tuple(qzeros.shape)} for {inputs} x {outputs}")
    weight = QuantisedWeight(
        codes=_codes(qweight, scheme.bits),
        scales=scales.T.contiguous(),
        zeros=_zeros(qzeros, scheme),
        order=None,
        bits=scheme.bits,
    )
    order = _order(tensors.get("g_idx"), inputs, groups)
    return weight if order is None else _in_groups(weight, order)


def write(weight: QuantisedWeight, scheme: Scheme) -> dict[str, Tensor]:
    """The tensors of a layer; scheme.group must be the weight's own."""
    order = torch.arange(weight.in_features) if weight.order is None else weight.order
    codes = torch.empty_like(weight.unpacked())
    codes[:, order] = weight.unpacked()
    index = torch.empty(weight.in_features, dtype=torch.int32)
    index[order] = torch.arange(weight.groups, dtype=torch.int32).repeat_interleave(weight.group_size)
    zeros = torch.full_like(weight.scales, weight.middle, dtype=torch.int32)
    if weight.zeros is not None:
        zeros = weight.zeros.int()
    if scheme.zeros == "less_one":
        zeros = zeros - 1
    packed = _words(zeros.T.contiguous().to(torch.uint8), weight.bits)
    if scheme.zeros == "less_one_carried":
        packed -= _ONES[weight.bits]
    return {
        "qweight": _words(codes, weight.bits).T.contiguous(),
        "qzeros": packed,
        "scales": weight.scales.T.contiguous().half(),
        "g_idx": index,
    }


def _groups(inputs: int, scheme: Scheme) -> int:
    size = inputs if scheme.group == -1 else scheme.group
    if inputs == 0 or inputs % size:
        raise Malformed(f"{inputs} inputs in groups of {size}")
    return inputs // size


def _codes(qweight: Tensor, bits: int) -> Tensor:
    """(words, out) -> the codes as a QuantisedWeight keeps them, (out, bytes)."""
    by_output = _bytes(qweight.T)  # little-endian: the first inputs come first
    return by_output if bits == 8 else _swap_halves(by_output)


def _bytes(words: Tensor) -> Tensor:
    """(rows, n) int32 -> (rows, 4n). Flat in between: a single row or column may have any stride."""
    return words.flatten().view(torch.uint8).view(words.shape[0], -1)


def _swap_halves(packed: Tensor) -> Tensor:
    return (packed << 4) | (packed >> 4)


def _words(codes: Tensor, bits: int) -> Tensor:
    """(rows, n) codes -> int32 (rows, n * bits / 32), the first code in the lowest bits."""
    packed = codes if bits == 8 else _swap_halves(join_nibbles(codes))
    return packed.flatten().view(torch.int32).view(packed.shape[0], -1)


def _zeros(qzeros: Tensor, scheme: Scheme) -> Tensor | None:
    """(out, groups), or None where all of them are the middle."""
    packed = qzeros + _ONES[scheme.bits] if scheme.zeros == "less_one_carried" else qzeros
    raw = _bytes(packed)
    codes = raw if scheme.bits == 8 else split_nibbles(_swap_halves(raw))
    zeros = codes.to(torch.int16) + (1 if scheme.zeros == "less_one" else 0)
    if bool((zeros == 1 << (scheme.bits - 1)).all()):
        return None
    zeros = zeros.T.contiguous()
    return zeros if int(zeros.max()) > 255 else zeros.to(torch.uint8)


def _order(index: Tensor | None, inputs: int, groups: int) -> Tensor | None:
    """Which input each column belongs to once they are sorted by group; None where they are sorted already."""
    if index is None or index.numel() == 0:
        return None
    if index.shape != (inputs,):
        raise Malformed(f"g_idx {tuple(index.shape)} for {inputs} inputs")
    index = torch.where(index < 0, index + groups, index).long()
    if int(index.min()) < 0 or int(index.max()) >= groups:
        raise Malformed("g_idx names groups that do not exist")
    if bool((torch.bincount(index, minlength=groups) != inputs // groups).any()):
        raise Malformed("groups of different sizes")
    order = torch.argsort(index, stable=True)
    return None if torch.equal(order, torch.arange(inputs)) else order


def _in_groups(weight: QuantisedWeight, order: Tensor) -> QuantisedWeight:
    codes = weight.unpacked().index_select(1, order)
    return replace(weight, codes=join_nibbles(codes) if weight.bits == 4 else codes, order=order)
