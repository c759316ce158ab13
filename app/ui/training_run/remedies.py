"""What would help a run that failed: changes of its recipe, the best first, and which keep its checkpoint.

Invariant: plain arithmetic and choices; nothing is read, and a recipe that comes from here is a valid one.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from app.services import training_plan
from app.services.fitting import Room, Subject
from core import figures
from core.training.recipe import Recipe
from core.training.run_files import RunFacts
from core.translation import say

# Changes after which the weights and the optimiser of a checkpoint still have the shapes of the run's own.
SAME_SHAPES = ("checkpointing", "shorter_passes", "shorter_rows")
SLOWER, WARMUP, CLIP = 3.0, 0.1, 1.0


@dataclass(frozen=True, slots=True)
class Remedy:
    """words: what is changed; means: what that brings; goes_on: from the last checkpoint, else a run of its own"""

    words: str
    means: str
    recipe: Recipe
    goes_on: bool = True


def for_memory(recipe: Recipe, subject: Subject, room: Room) -> list[Remedy]:
    """The greatest saving first."""
    return [
        Remedy(
            say(f"run_ui.remedy_{one.change}", value=_written(one.value)),
            say("run_ui.saves", size=figures.size(one.saves)),
            one.recipe,
            one.change in SAME_SHAPES,
        )
        for one in training_plan.proposals(recipe, subject, room)
    ]


def for_divergence(recipe: Recipe, facts: RunFacts | None, step: int) -> list[Remedy]:
    """step: at which it happened"""
    found = []
    slower = recipe.learning_rate / SLOWER
    if slower > 0:
        found.append(_changed(recipe, "learning_rate", f"{slower:.2g}", learning_rate=float(f"{slower:.2g}")))
    if not 0 < recipe.clip <= CLIP:
        found.append(_changed(recipe, "clip", f"{CLIP:g}", clip=CLIP))
    steps = facts.steps if facts else recipe.steps
    if recipe.warmup < WARMUP and recipe.schedule != "constant" and (not steps or step <= WARMUP * steps):
        found.append(_changed(recipe, "warmup", f"{WARMUP:.0%}", warmup=WARMUP))
    if recipe.precision != "float32" and (facts is None or facts.precision != "float32"):
        found.append(_changed(recipe, "float32", "", precision="float32"))
    return found


def for_disk(recipe: Recipe) -> list[Remedy]:
    """The same once more, when there is room; and with fewer checkpoints."""
    found = [Remedy(say("run_ui.remedy_space"), say("run_ui.remedy_space_means"), recipe)]
    if recipe.keep > 1:
        found.append(_changed(recipe, "keep", "1", keep=1))
    return found


def _written(value: str) -> str:
    return figures.count(int(value)) if value.isdigit() else value


def _changed(recipe: Recipe, name: str, value: str, **changes: object) -> Remedy:
    words, means = say(f"run_ui.remedy_{name}", value=value), say(f"run_ui.remedy_{name}_means")
    return Remedy(words, means, msgspec.structs.replace(recipe, **changes))
