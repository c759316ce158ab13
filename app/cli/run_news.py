"""How a fine-tune is shown at the terminal: a line that grows, or JSON lines for programs.

Invariant: with JSON standard output holds one object a line and nothing else; without it standard output holds what
came of the run, and everything on the way goes to standard error.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from app.cli.transfer import print_json
from app.services.training import Run
from core.figures import duration
from core.protocol.messages import Failed, Progress
from core.run_dir import Step
from core.translation import say

SENTENCE_ENDS, WHY_MOST = (". ", "; ", "。", "；"), 72
LINES = 20  # of a whole run, where nobody looks at a terminal


class News(Protocol):
    def started(self, run: Run, *, is_left: bool) -> None:
        """is_left: nobody here follows it"""

    def progressed(self, progress: Progress) -> None: ...

    def stepped(self, run: Run, steps: list[Step]) -> None: ...

    def saved(self, run: Run, step: int) -> None: ...

    def ended(self, run: Run, copied_to: Path | None) -> None: ...


class JsonNews:
    def __init__(self) -> None:
        self._stage = ""

    def started(self, run: Run, *, is_left: bool) -> None:
        recipe = msgspec.to_builtins(run.recipe)
        told = {"run": run.id, "folder": str(run.path), "model": run.origin.model, "step": run.status.step}
        print_json({"event": "start", **told, "recipe": recipe})

    def progressed(self, progress: Progress) -> None:
        """Each stage once: how far it is would be thousands of lines."""
        if progress.stage != self._stage:
            self._stage = progress.stage
            print_json({"event": "progress", "stage": progress.stage})

    def stepped(self, run: Run, steps: list[Step]) -> None:
        for step, values in steps:
            print_json({"event": "step", "step": step, "steps": run.steps, **finite(values)})

    def saved(self, run: Run, step: int) -> None:
        print_json({"event": "checkpoint", "step": step})

    def ended(self, run: Run, copied_to: Path | None) -> None:
        print_json({"event": "end", **described(run), "output_dir": str(copied_to) if copied_to else None})


class ScreenNews:
    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[left]}"),
        )
        text = TextColumn("{task.description}")
        self._bar = Bar(text, *columns, console=console, transient=True, disable=not console.is_terminal)
        self._line = self._bar.add_task("", total=None, figures="", left="")
        self._is_seen = console.is_terminal

    def started(self, run: Run, *, is_left: bool) -> None:
        key = "finetune.started_alone" if is_left else "finetune.started"
        print(say(key, run=run.id, model=run.origin.model, folder=str(run.path)), file=sys.stderr)
        if not is_left:
            self._bar.start()

    def progressed(self, progress: Progress) -> None:
        self._bar.update(self._line, description=say(f"progress.{progress.stage}"))

    def stepped(self, run: Run, steps: list[Step]) -> None:
        step, values = steps[-1]
        shown = {"loss": values.get("loss", math.nan), "speed": round(values.get("tokens_per_s", 0.0))}
        figures = say("finetune.step_figures", loss=f"{shown['loss']:.4f}", speed=shown["speed"])
        self._bar.update(
            self._line, description=say("finetune.training"), completed=step, total=run.steps or None, figures=figures,
            left=say("finetune.left_s", time=duration(left)) if (left := run.seconds_left) else "",
        )  # fmt: skip
        every = max(1, run.steps // LINES)
        if not self._is_seen and (step % every == 0 or step == run.steps):
            print(f"{step}/{run.steps}  {figures}", file=sys.stderr)

    def saved(self, run: Run, step: int) -> None:
        if self._is_seen:
            self._bar.console.print(say("finetune.saved", step=step))

    def ended(self, run: Run, copied_to: Path | None) -> None:
        self._bar.stop()
        if run.status.state == "failed":  # why is told as the error of the command
            print(say("finetune.failed_after", count=run.status.step))
        elif run.status.state != "interrupted":
            print(run.status)
        if run.best is not None:
            print(say("finetune.best", step=run.best.step, loss=f"{run.best.loss:.4f}"), file=sys.stderr)
        if run.result:
            print(say("finetune.result", name=run.result))
        if copied_to:
            print(say("finetune.copied", folder=str(copied_to)))


def described(run: Run) -> dict[str, Any]:
    """How a run stands, as JSON."""
    end, failure = run.status.end, None
    if isinstance(end, Failed):
        failure = {"code": end.code, "sentence": say(f"error.{end.code}", **end.params)}
    return {
        "run": run.id,
        "folder": str(run.path),
        "model": run.origin.model,
        "method": run.recipe.method,
        "state": stands(run),
        "step": run.status.step,
        "steps": run.steps,
        "loss": finite(run.latest).get("loss"),
        "seconds_left": run.seconds_left,
        "best": {"step": run.best.step, "eval_loss": run.best.loss} if run.best else None,
        "result": run.result or None,
        "error": failure,
    }


def stands(run: Run) -> str:
    """Its state; a run that was ended early is "stopped"."""
    end = run.status.end
    is_stopped = run.status.state == "finished" and end is not None and getattr(end, "reason", "") == "cancelled"
    return "stopped" if is_stopped else run.status.state


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def state_words(run: Run) -> str:
    """Its state, of a failed run with the reason in a few words."""
    state, end = say(f"finetune.state_{stands(run)}"), run.status.end
    if not isinstance(end, Failed):
        return state
    why = say(f"error.{end.code}", **end.params)
    first = min((at for mark in SENTENCE_ENDS if (at := why.find(mark)) > 0), default=len(why))
    return say("finetune.state_because", state=state, why=short(why[:first].rstrip("."), WHY_MOST))


def short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
