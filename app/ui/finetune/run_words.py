"""A fine-tune in words: how it stands, how far it is, its last figures.

Invariant: nothing is said that is not known.
"""

from __future__ import annotations

import time

from app.services.training import Run
from app.ui.widgets.badge import Tone
from core import figures
from core.translation import say

TONES: dict[str, Tone] = {
    "running": "accent", "pausing": "accent", "stopping": "accent", "paused": "warn", "finished": "ok",
    "failed": "bad", "interrupted": "bad", "new": "neutral",
}  # fmt: skip


def state_words(run: Run) -> tuple[str, Tone]:
    """A word and its tone."""
    state = run.status.state
    if state == "finished" and run.status.end is not None and getattr(run.status.end, "reason", "") == "cancelled":
        return say("finetune_ui.state_stopped"), "neutral"
    return say(f"finetune_ui.state_{state}"), TONES[state]


def method_words(method: str) -> str:
    return say(f"finetune_ui.method_{method}")


def progress_words(run: Run) -> str:
    """`120 of 400 · 5 min left`"""
    if run.progress is not None:
        return say(f"progress.{run.progress.stage}") if run.progress.stage else "–"
    if not run.steps:
        return figures.count(run.status.step) if run.status.step else "–"
    words = say("finetune_ui.of_steps", step=figures.count(run.status.step), steps=figures.count(run.steps))
    left = run.seconds_left
    return f"{words} · {say('finetune_ui.left', time=figures.duration(left))}" if left else words


def share(run: Run) -> float:
    return min(1.0, run.status.step / run.steps) if run.steps else 0.0


def loss_words(run: Run) -> str:
    loss = run.latest.get("loss")
    return f"{loss:.3f}" if loss is not None else "–"


def when_words(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.origin.created))
