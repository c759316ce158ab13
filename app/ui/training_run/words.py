"""A fine-tune in words: how it stands, how far it is, its last figures.

Invariant: nothing is said that is not known.
"""

from __future__ import annotations

import time

from app.services.training import Run
from app.ui.widgets.badge import Tone
from core import figures
from core.protocol.messages import Finished
from core.translation import say

TONES: dict[str, Tone] = {
    "running": "accent", "pausing": "accent", "stopping": "accent", "paused": "warn", "finished": "ok",
    "failed": "bad", "interrupted": "bad", "new": "neutral",
}  # fmt: skip
SEPARATOR = " · "


def is_stopped(run: Run) -> bool:
    """It ended early because somebody asked."""
    end = run.status.end
    return isinstance(end, Finished) and end.reason == "cancelled"


def state_words(run: Run) -> tuple[str, Tone]:
    """A word and its tone."""
    if is_stopped(run):
        return say("run_ui.state_stopped"), "neutral"
    if not run.status.is_responsive:
        return say("run_ui.state_silent"), "warn"
    if run.status.state == "running" and run.progress is not None:
        return say("run_ui.state_preparing"), "accent"
    return say(f"run_ui.state_{run.status.state}"), TONES[run.status.state]


def method_words(run: Run) -> str:
    return say(f"run_ui.method_{run.recipe.method}")


def stage_words(run: Run) -> str:
    """What it does while it makes no steps; "" while it does."""
    progress = run.progress
    if progress is None or not progress.stage or not run.status.is_alive:
        return ""
    words = say(f"progress.{progress.stage}")
    return f"{words} {progress.done / progress.total:.0%}" if progress.total else words


def share(run: Run) -> float:
    """Of its steps; while it loads, of that."""
    if (progress := run.progress) is not None and progress.total and run.status.is_alive:
        return progress.done / progress.total
    return min(1.0, run.status.step / run.steps) if run.steps else 0.0


def step_words(run: Run) -> str:
    """`step 120 of 400`"""
    step = figures.count(run.status.step)
    if not run.steps:
        return say("run_ui.step", step=step) if run.status.step else ""
    return say("run_ui.step_of", step=step, steps=figures.count(run.steps))


def times_words(run: Run) -> str:
    """`1.2 of 3 times over the data`"""
    if run.facts is None or not run.facts.rows or not run.status.step:
        return ""
    rows = run.facts.rows
    done, whole = (count * run.recipe.batch / rows for count in (run.status.step, run.facts.steps))
    return say("run_ui.times_of", done=f"{done:.{1 if whole >= 1 else 2}f}", whole=times(whole))


def times(value: float) -> str:
    """How often over the data: `0.25`, `1.5`, `3`."""
    return f"{value:.{1 if value >= 1 else 2}f}".rstrip("0").rstrip(".")


def left_words(run: Run) -> str:
    left = run.seconds_left
    return say("run_ui.left", time=figures.duration(left)) if left and run.progress is None else ""


def progress_words(run: Run) -> str:
    """How far it is, in one line."""
    if stage := stage_words(run):
        return stage
    return SEPARATOR.join(part for part in (step_words(run), times_words(run), left_words(run)) if part)


def number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def when_words(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.origin.created))
