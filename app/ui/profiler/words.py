"""Cells and their figures in words. Invariant: nothing is said that was not measured; a dash stands for that."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from app.ui.widgets.badge import Tone
from core import figures
from core.profiling.export import why as why
from core.profiling.plan import Cell, TrainingCase
from core.profiling.result import CellResult
from core.store.records import ProfileRun
from core.translation import say

NONE = "–"
GIB = 1 << 30
TONES: dict[str, Tone] = {"done": "ok", "not_run": "neutral", "out_of_memory": "bad", "failed": "bad"}
RUN_TONES: dict[str, Tone] = {"running": "accent", "done": "ok", "cancelled": "warn", "interrupted": "warn"}


class Shown(NamedTuple):
    """A table as the page shows it. results: by Cell.key; current: the key of the cell under way, "" for none."""

    run: ProfileRun
    cells: tuple[Cell, ...]
    results: dict[str, CellResult]
    current: str = ""

    def of(self, kind: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == kind]

    def state_of(self, cell: Cell) -> tuple[str, Tone]:
        """A cell without a result waits only while the table is measured."""
        if cell.key == self.current:
            return say("profile_ui.measuring"), "accent"
        if cell.key not in self.results:
            return say("profile_ui.waiting" if self.run.state == "running" else "profile_ui.not_measured"), "neutral"
        return state_words(self.results[cell.key])

    @property
    def has_several_models(self) -> bool:
        return len({cell.subject.name for cell in self.cells}) > 1


def model_words(cell: Cell) -> str:
    name = cell.subject.name
    return say("profile_ui.random", name=name) if cell.subject.is_random else name


def weights_words(weights: str) -> str:
    return say("profile_ui.weights_auto") if weights == "auto" else figures.precision(weights)


def kv_words(kv_cache: str) -> str:
    return say(f"profile_ui.kv_{kv_cache}")


def form_words(cell: Cell) -> str:
    """ "Int4", "Int4 + int8 KV" """
    if cell.training is not None:
        return method_words(cell.training)
    name = weights_words(cell.weights)
    if cell.kv_cache in ("auto", "plain"):
        return name
    return say("profile_ui.with_kv", weights=name, kv=kv_words(cell.kv_cache))


def method_words(work: TrainingCase) -> str:
    name = {"lora": "LoRA", "qlora": "Q-LoRA", "full": say("profile_ui.method_full")}[work.method]
    return say("profile_ui.with_embeddings", method=name) if work.embeddings else name


def case_words(cell: Cell) -> str:
    """ "128 read, 48 written, 4 at once" """
    if (case := cell.case) is not None:
        key = "case" if case.batch == 1 else "case_batch"
        return say(f"profile_ui.{key}", prompt=figures.count(case.prompt), new=figures.count(case.new),
                   batch=case.batch)  # fmt: skip
    if (work := cell.training) is not None:
        return say("profile_ui.case_training", length=figures.count(work.length), count=work.accumulate)
    return say("profile_ui.case_quality")


def named(cell: Cell, *, has_models: bool) -> str:
    """The form, with its model in front where there are several."""
    return f"{cell.subject.name} · {form_words(cell)}" if has_models else form_words(cell)


def title(cell: Cell) -> str:
    return f"{model_words(cell)} · {form_words(cell)} · {case_words(cell)}"


def state_words(result: CellResult) -> tuple[str, Tone]:
    return say(f"profile_ui.cell_{result.state}"), TONES[result.state]


def run_state(run: ProfileRun) -> tuple[str, Tone]:
    """ "done", "done, 1 failed" """
    words, tone = say(f"profile.state_{run.state}"), RUN_TONES[run.state]
    if not run.lost:
        return words, tone
    return say("profile.with_lost", state=words, count=run.lost), "warn" if tone == "ok" else tone


def is_resumable(run: ProfileRun) -> bool:
    return run.state in ("cancelled", "interrupted")


def when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def run_title(run: ProfileRun) -> str:
    """With its number, by which the command line knows it and equal names are told apart."""
    return f"{run.id} · {run.name} · {moment(run.created)}"


def moment(at: datetime) -> str:
    return at.astimezone().strftime("%m-%d %H:%M")


def rate(value: float | None) -> str:
    return say("profile_ui.rate", count=number(value)) if value else NONE


def number(value: float | None) -> str:
    """Three digits that count."""
    if not value:
        return NONE
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def size(count: float | None) -> str:
    return figures.size(count) if count else NONE


def gib(count: float | None) -> str:
    """As the README writes it: its GB are of 1024."""
    return f"{count / GIB:.2f} GiB" if count else NONE


def milliseconds(seconds: float | None) -> str:
    if not seconds:
        return NONE
    return say("profile_ui.ms", count=number(1000 * seconds))


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"


def signed(share: float) -> str:
    """By how much: "−54%"."""
    return f"{share:+.0%}".replace("-", "−")


def signed_fine(share: float | None) -> str:
    return NONE if share is None else f"{share:+.1%}".replace("-", "−")


def times(ratio: float) -> str:
    return f"{ratio:.2f}×"
