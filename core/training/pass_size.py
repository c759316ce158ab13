"""How many tokens go through the model at once, and whether layers are computed twice to save memory.

Invariant: the longest row always goes through; of the ways that the memory lets in the fastest is taken, and what the
recipe fixes is not touched. Imports no torch: the window plans by the same rules as the worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from core.models.footprint import DeviceKind
from core.models.training_footprint import Step, estimate_training
from core.training.recipe import Recipe

if TYPE_CHECKING:
    from core.models.shape import Shape

MOST = {"cpu": 2048, "cuda": 8192}  # tokens of a pass; more gain nothing
SAFE = 0.85  # of the free memory


@dataclass(frozen=True, slots=True)
class PassSize:
    tokens: int
    checkpointing: bool


def pass_size(recipe: Recipe, shape: Shape, longest: int, free: int, device: DeviceKind) -> PassSize:
    """longest: tokens of the longest row; free: bytes for one device's process before anything is loaded"""
    rows = math.ceil(recipe.batch / recipe.devices)  # of one device
    most = recipe.pass_tokens or min(MOST[device], max(longest, rows * longest))
    sizes = [most] if recipe.pass_tokens else [most >> shift for shift in range(6) if most >> shift > longest]
    tokens = [*dict.fromkeys(max(size, longest) for size in [*sizes, longest])]
    switches = {"on": [True], "off": [False], "auto": [False, True]}[recipe.checkpointing]
    for checkpointing, size in product(switches, tokens):
        found = PassSize(size, checkpointing)
        if estimate_training(shape, step_of(recipe, found), device).total <= SAFE * free:
            return found
    return PassSize(tokens[-1], switches[-1])


def step_of(recipe: Recipe, passes: PassSize) -> Step:
    """What the memory of one step hangs on."""
    return Step(
        method=recipe.method, tokens=passes.tokens, rank=recipe.rank, targets=recipe.targets,
        checkpointing=passes.checkpointing, optimiser=recipe.optimiser, half=recipe.precision != "float32",
        weights="nf4" if recipe.weights == "auto" else recipe.weights, devices=recipe.devices,
        parallel=recipe.parallel,
    )  # fmt: skip
