"""What happens between two steps of a run: the person's wishes are obeyed, checkpoints are told of.

Invariant: all ranks end at the same step, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch

from core.training.library import TrainerCallback


class Control(Protocol):
    """What the person at the window wants; read after every step."""

    @property
    def is_cancelled(self) -> bool: ...

    @property
    def is_paused(self) -> bool: ...


class Enough(Exception):
    """Raised before the first step since a start, when no more are wanted: the checkpoint is all there shall be."""


class Obeying(TrainerCallback):
    """wish: for which the run ended before its last step"""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._has_begun = False
        self.wish: Literal["", "cancelled", "paused"] = ""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Only a run that goes on from a checkpoint can end here: without one there is nothing to keep yet."""
        is_first, self._has_begun = not self._has_begun, True
        if is_first and state.global_step:
            self._ask(args)
            if self.wish:
                raise Enough

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ask(args)
        if self.wish:
            control.should_save = control.should_training_stop = True

    def _ask(self, args: Any) -> None:
        wishes = torch.tensor([self._control.is_cancelled, self._control.is_paused], dtype=torch.int32)
        if args.world_size > 1:  # the first rank knows
            wishes = wishes.to(args.device)
            torch.distributed.broadcast(wishes, 0)
        is_cancelled, is_paused = wishes.tolist()
        if is_cancelled or is_paused:
            self.wish = "cancelled" if is_cancelled else "paused"


def least_of_all(value: int, device: torch.device) -> int:
    """The smallest of what the ranks have, on each the same."""
    found = torch.tensor([value], dtype=torch.int64, device=device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MIN)
    return int(found.item())


class Keeping(TrainerCallback):
    """Before Obeying among the callbacks: a pause is in a hurry, and its checkpoint is not measured."""

    def __init__(self, saved: Callable[[int], None], *, measures: bool) -> None:
        """measures: rows are kept aside, and each checkpoint is held against them"""
        self._saved, self._measures = saved, measures

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._measures and control.should_save:
            control.should_evaluate = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved(state.global_step)
