"""The published 8-bit form of keys and values: one scale and one float zero point for every head of every chunk.

Owns the formulas, for transformers' cache and for ours. Invariant: what comes back from a chunk differs from it by less
than one scale, and a constant chunk comes back as it was. (The published code divides by zero there.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEVELS = 255


class Rows(NamedTuple):
    """levels: (batch, heads, tokens, width) uint8; scale, zero: (batch, heads, tokens, 1) in the model's precision.

    Scale and zero are the same for all tokens of a chunk, and repeated so that chunks can be put after each other.
    """

    levels: Tensor
    scale: Tensor
    zero: Tensor


def quantise_chunk(states: Tensor) -> Rows:
    """states: (batch, heads, tokens, width), the new keys or values of one pass, at least one token.

    Truncates as published, so a value comes back up to a whole scale lower.
    """
    chunk = states.float().flatten(2)
    low, high = chunk.amin(-1), chunk.amax(-1)
    # What is stored is what is computed with: rounded to the model's precision first. Half precisions may round it
    # to nothing, which is a constant chunk as well.
    scale = ((high - low) / LEVELS).to(states.dtype).float()
    scale = torch.where(scale > 0, scale, 1.0)
    # A narrow chunk far from zero would have a zero point that float16 cannot hold.
    scale = scale.maximum(low.abs() / (0.99 * torch.finfo(states.dtype).max)).to(states.dtype).float()
    zero = (-low / scale).to(states.dtype).float()
    scale, zero = scale[..., None, None], zero[..., None, None]
    levels = (states.float() / scale + zero).clamp_(0, LEVELS).to(torch.uint8)
    shape = (*states.shape[:3], 1)
    return Rows(levels, scale.to(states.dtype).expand(shape), zero.to(states.dtype).expand(shape))


def dequantise(rows: Rows) -> Tensor:
    """(batch, heads, tokens, width) in the precision of the scale."""
    return (rows.scale.float() * (rows.levels.float() - rows.zero.float())).to(rows.scale.dtype)
