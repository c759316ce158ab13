"""Speed and memory of a fine-tune, by the trainer that fine-tunes: rows of random tokens, a few steps, no checkpoint.

Invariant: model, passes, loss and optimiser are those of core.training for the same recipe; the first step warms up and
does not count. Rows go through one at a time, as in the README's table.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from core.models import memory
from core.models.footprint import DeviceKind
from core.models.load import Loading
from core.profiling import random_model
from core.profiling.estimating import passes_of, recipe_of, shape_of_subject
from core.profiling.loading import NOWHERE
from core.profiling.measure import Measuring, Step
from core.profiling.plan import Cell
from core.profiling.recorder import Recorder
from core.profiling.result import TrainingFigures
from core.training import preparing, run_files
from core.training.arguments import arguments
from core.training.library import TrainerCallback
from core.training.packing import Plan
from core.training.passes import Row
from core.training.preparing import Prepared
from core.training.run_files import RunFacts
from core.training.stepped import Stepped
from core.training.trainer import RowTrainer

LEARNED = 0.5  # of a row, at its end
SEED = 7


def measured(cell: Cell, recorder: Recorder) -> Measuring:
    assert cell.training is not None
    shape = shape_of_subject(cell.subject)
    on_card = cell.device != "cpu" and torch.cuda.is_available()
    free = int(torch.cuda.mem_get_info()[0]) if on_card else int(psutil.virtual_memory().available)
    kind: DeviceKind = "cuda" if on_card else "cpu"
    passes = passes_of(cell, shape, free, kind)
    began = recorder.mark("load")
    yield Step("loading_weights")
    prepared = _prepared(cell)
    if passes.checkpointing:
        prepared.model.gradient_checkpointing_enable({"use_reentrant": False})
        memory.keep_no_large_blocks()
    yield {"load_s": recorder.seconds - began}
    clock = Clock(recorder)
    work = partial(_train, cell, prepared, passes.checkpointing, clock)
    yield from Stepped[Step](work, "training")
    yield {"training": _figures(cell, prepared, passes.checkpointing, clock)}


def _prepared(cell: Cell) -> Prepared:
    """embeddings: any token that is new has both tables trained as a whole, as the README did with base models."""
    recipe = recipe_of(cell)
    new_ids = (0,) if cell.training and cell.training.embeddings else ()
    if not cell.subject.is_random:
        return preparing.prepare(recipe, Path(cell.subject.folder), new_ids)
    config = json.loads(cell.subject.config)
    shape = shape_of_subject(cell.subject)
    options, compute, reason = preparing.how_loaded(recipe, shape.stored, config, False)  # type: ignore[arg-type]
    loading = Loading(Path(NOWHERE), options, random_model.loader(cell.subject))
    for _ in loading:
        pass
    return preparing.made_ready(recipe, loading.model, compute, reason, new_ids)


class Clock(TrainerCallback):
    """The parts of every step, marked for the recorder as well. parts: seconds of each kind, by step."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.steps: list[StepTimes] = []
        self._part, self._since = "", 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.steps.append(StepTimes())
        self.enter("forward")

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.enter("optimiser")

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.enter("")

    def around(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        """The trainer's backward pass, with what comes before and after told apart."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.enter("backward")
            found = backward(*args, **kwargs)
            self.enter("forward")
            return found

        return run

    def enter(self, part: Any) -> None:
        if part:
            self._recorder.mark(part, len(self.steps) - 1, is_fine=True)
        now = time.perf_counter()
        if self._part:
            parts = self.steps[-1].parts
            parts[self._part] = parts.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, time.perf_counter()


@dataclass(slots=True)
class StepTimes:
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> float:
        return sum(self.parts.values())


def _train(cell: Cell, prepared: Prepared, checkpointing: bool, clock: Clock, tell: Callable[[Step], None]) -> None:
    assert cell.training is not None
    recipe = recipe_of(cell)
    rows = list(_rows(cell, int(prepared.loaded.model.config.get_text_config().vocab_size)))
    steps = recipe.steps
    facts = RunFacts(
        steps=steps, rows=len(rows), kept_aside=0, tokens=0, learned=0, cut=0, trained=prepared.trained,
        parameters=prepared.loaded.parameters, precision=str(prepared.compute).removeprefix("torch."),
        reason=prepared.reason, device=str(prepared.loaded.placement.device), packs=prepared.packs,
        checkpointing=checkpointing, pass_tokens=recipe.pass_tokens, fingerprint="", versions={},
    )  # fmt: skip

    def told(step: int, figures: dict[str, float]) -> None:
        tell(Step("profile_training", step, steps))

    with tempfile.TemporaryDirectory() as place:
        run = run_files.RunFiles(Path(place))
        settings = arguments(recipe, facts, prepared, run, has_eval=False)
        settings.save_strategy = "no"
        trainer = RowTrainer(
            model=prepared.model, args=settings, rows=rows, kept_aside=[],
            plan=Plan([len(row.ids) for row in rows], recipe.batch, recipe.pass_tokens, recipe.seed, prepared.packs),
            padding=0, head=prepared.head, tell=told, callbacks=[clock],
        )  # fmt: skip
        trainer.accelerator.backward = clock.around(trainer.accelerator.backward)
        trainer.train()


def _rows(cell: Cell, vocabulary: int) -> Iterator[Row]:
    work = cell.training
    assert work is not None
    chance = random.Random(SEED)
    for _ in range(work.accumulate * 2):
        ids = [chance.randrange(vocabulary) for _ in range(work.length)]
        yield Row(ids, [at >= work.length * (1 - LEARNED) for at in range(work.length)])


def _figures(cell: Cell, prepared: Prepared, checkpointing: bool, clock: Clock) -> TrainingFigures:
    work = cell.training
    assert work is not None
    counted = clock.steps[1:] or clock.steps
    step_s = median(step.whole for step in counted)

    def of(part: str) -> float:
        return float(median(step.parts.get(part, 0.0) for step in counted))

    return TrainingFigures(
        step_s=step_s,
        steps=len(counted),
        tokens_per_s=work.length * work.accumulate / step_s,
        trained_parameters=prepared.trained,
        precision=str(prepared.compute).removeprefix("torch."),
        weights=prepared.loaded.weights,
        device=str(prepared.loaded.placement.device),
        checkpointing=checkpointing,
        forward_s=of("forward"),
        backward_s=of("backward"),
        optimiser_s=of("optimiser"),
    )
