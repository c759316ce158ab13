"""The figures of a run as lines that grow: what is on disk first, in pieces off the thread, then each step as it comes.

Invariant: a step is in a line at most once, and the later of two takes the place of the earlier; what comes while the
history is read waits for its end. The window's thread is never held longer than SLICE points of one line take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject

from app.services.training import TrainingService
from app.ui import aio
from app.ui.pacing import Paced
from app.ui.transcript.warm import patience
from app.ui.widgets.chart.lines import Line
from core import figures
from core.run_dir import Step
from core.translation import say

if TYPE_CHECKING:
    from app.ui.widgets.chart.pyramid import Numbers

KEYS = ("loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_s", "memory")
SLICE = 10_000
EVERY_MS = 100


def lines_of(run: str) -> dict[str, Line]:
    """By figure; empty."""

    def rate(value: float) -> str:
        return f"{value:.3g}"

    return {
        "loss": Line(say("run_ui.line_loss"), run, is_smoothed=True),
        "eval_loss": Line(say("run_ui.line_eval_loss"), run, has_points=True),
        "learning_rate": Line(say("run_ui.line_learning_rate"), run, write=rate),
        "grad_norm": Line(say("run_ui.line_grad_norm"), run, is_smoothed=True),
        "tokens_per_s": Line(say("run_ui.line_tokens_per_s"), run, is_smoothed=True),
        "memory": Line(say("chart.memory_used"), run, is_filled=True, write=figures.size),
    }


class Feed(QObject):
    """
    Attributes:
        is_loaded: the history is whole
        has_history: it was, since this began
    """

    def __init__(self, training: TrainingService, id: str, name: str, grown: Callable[[], object]) -> None:
        """`grown` is called after the lines have grown, at most every EVERY_MS."""
        super().__init__()
        self.id, self.name = id, name
        self.lines = lines_of(name)
        self.is_loaded = self.has_history = False
        self._training, self._grown = training, grown
        self._waiting: list[Step] = []
        self._rewound_to: int | None = None
        self._paced = Paced(self, EVERY_MS, self._flush)
        self._end = training.stepped.listen(self._on_steps)
        self._loading = aio.spawn(self._load(0), "history of run")

    def leave(self) -> None:
        self._end()
        self._paced.stop()
        self._loading.cancel()

    def rewind(self, after: int) -> None:
        """The run goes on from an earlier step: once it has come past what it did before, all after it is read anew."""
        self._rewound_to = after

    def reload(self) -> None:
        """The run has ended: what lies on the disk is all there is, however it came there."""
        self._rewound_to, self.is_loaded = None, False
        self._loading.cancel()
        self._loading = aio.spawn(self._load(0), "history of run")

    async def _load(self, after: int) -> None:
        last = after
        with patience():
            async with aclosing(self._training.pieces(self.id, after)) as pieces:
                async for piece in pieces:
                    last = piece[-1][0]
                    columns = await asyncio.to_thread(columns_of, piece)
                    await self._take(columns)
        self._waiting = [step for step in self._waiting if step[0] > last]
        self.is_loaded = self.has_history = True
        self._flush()

    async def _take(self, columns: dict[str, Numbers]) -> None:
        for key, points in columns.items():
            for start in range(0, len(points), SLICE):
                self.lines[key].series.extend(points[start : start + SLICE])
                await asyncio.sleep(0)
        self._grown()

    def _on_steps(self, told: tuple[str, list[Step]]) -> None:
        id, steps = told
        if id == self.id:
            self._waiting += steps
            if self.is_loaded:
                self._paced.ask()

    def _flush(self) -> None:
        after = self._rewound_to
        if after is not None and self._waiting:
            self._rewound_to, self.is_loaded = None, False
            self._loading = aio.spawn(self._load(after), "history of run")
            return
        waiting, self._waiting = self._waiting, []
        for key, points in columns_of(waiting).items():
            self.lines[key].series.extend(points)
        self._grown()


def columns_of(steps: Sequence[Step]) -> dict[str, Numbers]:
    """By figure, step and value of the steps that have it."""
    found: dict[str, Numbers] = {}
    for key in KEYS:
        pairs = [(step, values[key]) for step, values in steps if key in values]
        if pairs:
            found[key] = np.array(pairs, dtype=np.float64)
    return found
