"""How the first generation reads past the length it was trained on: dynamic NTK, and LogN scaling of attention.

Owns the formulas as plain numbers, for the front's context view and for the model alike; imports no torch. Invariant:
up to the trained length nothing is changed: alpha is 1 and every LogN scale is 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FALLBACK_LENGTH = 8192  # of configs that do not say

# The published figures name a third technique, but no released code has it: it is told, never offered.
WINDOW_ATTENTION_NOTICE = "qwen_v1_no_window_attention"


def ntk_alpha(length: int, trained: int) -> float:
    """How far the rotary base is stretched for a prompt of `length` tokens: 1, then 3, 7, 15 ... for each doubling.

    The same as 2^ceil(log2(length / trained) + 1) - 1, at least 1, without the rounding of a logarithm.
    """
    alpha, reach = 1.0, max(trained, 1)
    while reach < length:
        alpha, reach = 2 * alpha + 1, 2 * reach
    return alpha


def stretched_base(base: float, alpha: float, width: int) -> float:
    """The rotary base for `alpha`; width: how many values of a head are rotated."""
    return base if alpha == 1 or width <= 2 else base * alpha ** (width / (width - 2))


def logn_scale(position: int, trained: int) -> float:
    """What the query at `position`, counted from 1, is multiplied by."""
    return math.log(position) / math.log(trained) if position > trained > 1 else 1.0


@dataclass(frozen=True, slots=True)
class LongContext:
    """What a config says about lengths.

    trained_length: tokens the model was trained on; extended_length: tokens its context holds at most.
    """

    trained_length: int
    extended_length: int
    has_ntk: bool
    has_logn: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LongContext:
        """config: the contents of config.json, with the key names of August 2023 or the later ones."""
        extended = _positive(config, "max_position_embeddings", "n_positions") or FALLBACK_LENGTH
        return cls(
            trained_length=_positive(config, "seq_length") or extended,
            extended_length=extended,
            has_ntk=bool(config.get("use_dynamic_ntk", True)),
            has_logn=bool(config.get("use_logn_attn", True)),
        )

    def alpha(self, length: int) -> float:
        """As a prompt of `length` tokens would be read."""
        return ntk_alpha(length, self.trained_length) if self.has_ntk else 1.0


def _positive(config: Mapping[str, Any], *names: str) -> int:
    """The first of the entries that is a length; 0 when none is."""
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), 0)
