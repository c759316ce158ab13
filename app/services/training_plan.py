"""What a fine-tune will take before it is started: memory against what is free, steps, time, disk; how to need less.

Invariant: arithmetic on numbers that are here already, so the window asks at every click; and the plan is that of the
worker: the same rules choose passes and checkpointing there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from app.services.fitting import TIGHT_FROM, Room, Subject, Verdict
from core.data.report import DataReport
from core.models.training_footprint import TrainingFootprint, estimate_training, trained_parameters
from core.profiling import learning
from core.training.pass_size import PassSize, pass_size, step_of
from core.training.recipe import Recipe

PARTS = ("weights", "adapter", "gradients", "optimiser", "activations", "overhead")
CHECKPOINT_BYTES = 12  # of a trained parameter: itself and the two moments of Adam

Change = Literal["qlora", "checkpointing", "shorter_passes", "shorter_rows", "optimiser_8bit", "smaller_rank", "lora"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that makes a run need less. value: what the setting becomes, for people"""

    change: Change
    value: str
    saves: int
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """
    Attributes:
        footprint: bytes of one device, part by part; free: what they are held against, of the card where there is one
        devices: over which the rows of a step are dealt out
        passes: how the rows go through the model
        steps, steps_of_epoch: optimiser steps; tokens: of one epoch, cut rows counted as cut; 0 without a report
        seconds: of the whole run, None where this machine has not been measured
        disk: bytes of checkpoints and result at the most; trained: parameters that change
    """

    footprint: TrainingFootprint
    free: int
    on_card: bool
    passes: PassSize
    steps: int
    steps_of_epoch: float
    tokens: int
    seconds: float | None
    disk: int
    trained: int
    devices: int = 1

    @property
    def verdict(self) -> Verdict:
        total = self.footprint.total
        return "too_big" if total > self.free else "tight" if total > TIGHT_FROM * self.free else "fits"

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, getattr(self.footprint, name)) for name in PARTS)


def plan(
    recipe: Recipe, subject: Subject, room: Room, report: DataReport | None = None, tokens_per_s: float = 0.0
) -> TrainingPlan:
    """tokens_per_s: what an earlier run with this model and method reached here, 0 where there was none"""
    on_card = bool(room.card) and recipe.device != "cpu"
    free = free_for(recipe, room)
    longest, rows, tokens = _data(recipe, report)
    passes = pass_size(recipe, subject.shape, longest, free, "cuda" if on_card else "cpu")
    step = step_of(recipe, passes)
    footprint = _as_learned(estimate_training(subject.shape, step, "cuda" if on_card else "cpu"), on_card)
    steps = recipe.steps or max(1, math.ceil(rows * recipe.epochs / recipe.batch)) if rows or recipe.steps else 0
    trained = trained_parameters(subject.shape, step)
    of_run = tokens * (steps * recipe.batch / rows) if rows else 0
    return TrainingPlan(
        footprint=footprint,
        free=free,
        on_card=on_card,
        passes=passes,
        steps=steps,
        steps_of_epoch=rows / recipe.batch,
        tokens=tokens,
        seconds=of_run / tokens_per_s if tokens_per_s and of_run else None,
        disk=trained * CHECKPOINT_BYTES * (recipe.keep + 1) + trained * 4,
        trained=trained,
        devices=recipe.devices,
    )


def _as_learned(found: TrainingFootprint, on_card: bool) -> TrainingFootprint:
    """With what profiles on this machine have taught of the process itself."""
    extra = learning.known().extra_bytes("cuda" if on_card else "cpu", True, found.total)
    return replace(found, overhead=max(0, found.overhead + extra)) if extra else found


def proposals(recipe: Recipe, subject: Subject, room: Room, report: DataReport | None = None) -> list[Proposal]:
    """What makes the run need less, the greatest saving first."""
    needed = plan(recipe, subject, room, report).footprint.total
    found = []
    for change, value, other in _changes(recipe, subject, bool(room.card)):
        saves = needed - plan(other, subject, room, report).footprint.total
        if saves > 0:
            found.append(Proposal(change, value, saves, other))
    return sorted(found, key=lambda proposal: -proposal.saves)


def made_to_fit(recipe: Recipe, subject: Subject, room: Room, report: DataReport | None = None) -> Recipe | None:
    """The recipe with the fewest changes with which it fits; None where nothing helps."""
    for _ in range(6):
        if plan(recipe, subject, room, report).verdict == "fits":
            return recipe
        offered = proposals(recipe, subject, room, report)
        if not offered:
            return None
        enough = [one for one in offered if plan(one.recipe, subject, room, report).verdict == "fits"]
        recipe = (enough or offered)[0].recipe
    return None


def _changes(recipe: Recipe, subject: Subject, on_card: bool) -> list[tuple[Change, str, Recipe]]:
    def other(**values: object) -> Recipe:
        return msgspec.structs.replace(recipe, **values)

    found: list[tuple[Change, str, Recipe]] = []
    if recipe.method == "full":
        found.append(("lora", "LoRA", other(method="lora", learning_rate=2e-4)))
    if recipe.method == "lora" and subject.shape.quantised is None:
        found.append(("qlora", "NF4", other(method="qlora")))
    if recipe.checkpointing != "on":
        found.append(("checkpointing", "", other(checkpointing="on")))
    if not recipe.pass_tokens or recipe.pass_tokens > recipe.length:
        found.append(("shorter_passes", str(recipe.length), other(pass_tokens=recipe.length)))
    if recipe.length > 128:
        found.append(("shorter_rows", str(recipe.length // 2), other(length=recipe.length // 2)))
    if on_card and recipe.optimiser == "adamw":
        found.append(("optimiser_8bit", "adamw_8bit", other(optimiser="adamw_8bit")))
    if recipe.method != "full" and recipe.rank > 8:
        found.append(("smaller_rank", str(recipe.rank // 2), other(rank=recipe.rank // 2)))
    return found


def free_for(recipe: Recipe, room: Room) -> int:
    """For one device: of the fullest card that takes part; processes on the processor share the system's memory."""
    if room.card and recipe.device != "cpu":
        return min(card.free_bytes for card in room.cards[: recipe.devices])
    return room.memory // recipe.devices


def _data(recipe: Recipe, report: DataReport | None) -> tuple[int, int, int]:
    """(the longest row, rows to learn from, their tokens), each row cut to the recipe's length."""
    if report is None or report.lengths is None:
        return recipe.length, 0, 0
    lengths = report.lengths
    share = report.train_rows / max(1, report.usable_rows)
    return min(lengths.longest, recipe.length), report.train_rows, round((lengths.tokens - lengths.cut_tokens) * share)
