"""What was measured, as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from core import figures
from core.profiling import comparing, export
from core.profiling.plan import Cell
from core.profiling.readme_table import DEVICE, Compared, Relative, relative
from core.profiling.readme_table import compared as beside_readme
from core.profiling.result import CellResult, MachineProbe, Rate
from core.store.records import ProfileRun
from core.translation import say

WIDE = 160


def title(cell: Cell) -> str:
    form = f"{cell.subject.name}, {figures.precision(cell.weights)}, KV {cell.kv_cache}"
    if cell.case is not None:
        return f"{form}: {case(cell)}"
    if cell.training is not None:
        return f"{cell.subject.name}: {_method(cell)}, {case(cell)}"
    return f"{form}: {say('profile.perplexity')}"


def case(cell: Cell) -> str:
    if cell.case is not None:
        batch = f" x {cell.case.batch}" if cell.case.batch > 1 else ""
        return f"{cell.case.prompt} + {cell.case.new}{batch}"
    return f"{cell.training.length} x {cell.training.accumulate}" if cell.training is not None else ""


def show_runs(runs: Sequence[ProfileRun]) -> None:
    table = _table("id", "name", "state", "cells", "device", "date")
    for run in runs:
        table.add_row(
            str(run.id), run.name, state_words(run), f"{run.measured}/{run.cells}", run.device,
            run.created.astimezone().strftime("%Y-%m-%d %H:%M"),
        )  # fmt: skip
    _console().print(table)


def state_words(run: ProfileRun) -> str:
    """ "done", "done, 1 failed" """
    words = say(f"profile.state_{run.state}")
    return say("profile.with_lost", state=words, count=run.lost) if run.lost else words


def show(run: ProfileRun, results: Sequence[CellResult], *, has_reasons: bool = True) -> None:
    """Only the columns that say something. has_reasons: why a cell has no figures is said below"""
    console = _console()
    console.print(f"{run.id}  {run.name}  {state_words(run)}  {run.device}")
    if inference := [result for result in results if result.cell.kind != "training"]:
        console.print(_inference(inference))
    if training := [result for result in results if result.cell.kind == "training"]:
        console.print(_training(training))
    if run.plan.preset:
        beside = beside_readme(results)
        if any(one.published for one in beside):
            console.print(_beside(beside))
        elif ratios := relative(results):
            console.print(_relative(ratios))
    if any((result.bandwidth_share or 0) > 1 for result in results):
        console.print(say("profile.above_limits"))
    for result in results:
        if has_reasons and (reason := export.why(result)):
            console.print(f"{title(result.cell)}: {reason}")


def _inference(results: Sequence[CellResult]) -> Table:
    qualities = {_form(r.cell): r.quality.perplexity for r in results if r.quality is not None}
    shown = [result for result in results if result.cell.case is not None] or list(results)
    return _filled(
        {
            "model": [result.cell.subject.name for result in shown],
            "form": [_form_name(result.cell) for result in shown],
            "case": [case(result.cell) for result in shown],
            "cell_state": [_state(result) for result in shown],
            "load": [figures.duration(result.load_s) if result.load_s else "" for result in shown],
            "prefill": [_number(result, "prompt_tokens_per_s", 1) for result in shown],
            "first": [_number(result, "first_token_s", 1000) for result in shown],
            "decode": [_number(result, "decode_tokens_per_s", 1) for result in shown],
            "p50": [_number(result, "token_s_p50", 1000) for result in shown],
            "p99": [_number(result, "token_s_p99", 1000) for result in shown],
            "peak": [_peak(result) for result in shown],
            "estimate": [_estimate(result) for result in shown],
            "bandwidth": [f"{result.bandwidth_share:.0%}" if result.bandwidth_share else "" for result in shown],
            "perplexity": [f"{qualities[_form(result.cell)]:.3f}" if _form(result.cell) in qualities else ""
                           for result in shown],
        }
    )  # fmt: skip


def _number(result: CellResult, name: str, factor: float) -> str:
    value = factor * float(getattr(result.inference, name, 0.0))
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value else ""


def _form_name(cell: Cell) -> str:
    kept = "" if cell.kv_cache in ("auto", "plain") else f", KV {cell.kv_cache}"
    return figures.precision(cell.weights) + kept


def _form(cell: Cell) -> tuple[str, str, str]:
    return cell.subject.name, cell.weights, cell.kv_cache


def _training(results: Sequence[CellResult]) -> Table:
    def of(name: str) -> list[str]:
        return [f"{getattr(result.training, name):.2f}" if result.training else "" for result in results]

    return _filled(
        {
            "model": [result.cell.subject.name for result in results],
            "method": [_method(result.cell) for result in results],
            "case": [case(result.cell) for result in results],
            "cell_state": [_state(result) for result in results],
            "step": of("step_s"),
            "forward": of("forward_s"),
            "backward": of("backward_s"),
            "optimiser": of("optimiser_s"),
            "tokens": [f"{result.training.tokens_per_s:.0f}" if result.training else "" for result in results],
            "peak": [_peak(result) for result in results],
            "estimate": [_estimate(result) for result in results],
        }
    )


def _relative(ratios: Sequence[Relative]) -> Table:
    """The README says nothing of these models; what a form gains over BF16 can be compared all the same."""
    table = _table("model", "form", "quantity", "published_ratio", "here_ratio", device=DEVICE)
    for one in ratios:
        table.add_row(one.model, f"{figures.precision(one.weights)} : BF16", say(f"profile.quantity_{one.quantity}"),
                      f"{one.published:.2f}", f"{one.measured:.2f}")  # fmt: skip
    return table


def _beside(rows: Sequence[Compared]) -> Table:
    table = _table("model", "form", "case", "quantity", "published", "here", "ratio", device=DEVICE)
    for one in rows:
        form = _method(one.cell) if one.cell.training else f"{figures.precision(one.cell.weights)}, {one.cell.kv_cache}"
        here = say("profile.out_of_memory") if one.is_out_of_memory else export.said(one.quantity, one.measured)
        table.add_row(
            one.cell.subject.name, form, case(one.cell), say(f"profile.quantity_{one.quantity}"),
            export.said(one.quantity, one.published), here, f"{one.ratio:.2f}" if one.ratio is not None else "",
        )  # fmt: skip
    return table


def compared(before: Sequence[CellResult], after: Sequence[CellResult]) -> list[dict[str, Any]]:
    """Cells that both tables measured, figure by figure; ratio: the second over the first."""
    return [
        {"key": one.cell.key, "cell": title(one.cell), "figure": one.figure, "first": one.first, "second": one.second,
         "ratio": one.ratio, "verdict": one.verdict}
        for one in comparing.compared(before, after)
    ]  # fmt: skip


def show_compared(first: ProfileRun, second: ProfileRun, rows: Sequence[dict[str, Any]]) -> None:
    table = _table("cell", "figure", "first_table", "second", "change", "verdict")
    last = ""
    for row in rows:
        value = figures.size if row["figure"] == "peak_bytes" else "{:.3g}".format
        table.add_row(row["cell"] if row["cell"] != last else "", say(f"profile.figure_{row['figure']}"),
                      value(row["first"]), value(row["second"]), f"{row['ratio'] - 1:+.1%}",
                      say(f"profile_ui.{row['verdict']}"))  # fmt: skip
        last = row["cell"]
    console = _console()
    for run in (first, second):
        console.print(f"{run.id}  {run.name}  {run.device}  {run.created.astimezone():%Y-%m-%d %H:%M}")
    console.print(table)


def show_limits(probe: MachineProbe) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in ("read", "copy", "matrix_bf16", "matrix_fp32"):
        rate: Rate = getattr(probe, name)
        value = figures.speed(rate.value) if name in ("read", "copy") else figures.flops(rate.value)
        table.add_row(say(f"profile.limit_{name}"), value, say(f"probe.{rate.how}", **rate.params))
    _console().print(table)


def _peak(result: CellResult) -> str:
    return figures.size(result.whole_peak) if result.whole_peak else ""


def _estimate(result: CellResult) -> str:
    """By how much it was off, where that is known."""
    if result.estimate is None:
        return ""
    error = result.estimate_error
    return f"{error:+.1%}" if error is not None else figures.size(result.estimate.total)


def _state(result: CellResult) -> str:
    return "" if result.state == "done" else say(f"profile.cell_{result.state}")


def _method(cell: Cell) -> str:
    assert cell.training is not None
    name = {"lora": "LoRA", "qlora": "Q-LoRA", "full": say("profile.full")}[cell.training.method]
    return f"{name} (emb)" if cell.training.embeddings else name


TEXTS = {"model", "name", "state", "device", "date", "cell", "figure", "form", "case", "method", "quantity",
         "cell_state", "verdict"}  # fmt: skip


def _table(*columns: str, **params: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(say(f"profile.column_{name}", **params), justify="left" if name in TEXTS else "right")
    return table


def _filled(columns: dict[str, list[str]]) -> Table:
    """Without the columns that say nothing."""
    kept = {name: values for name, values in columns.items() if any(values)}
    table = _table(*kept)
    for row in zip(*kept.values(), strict=True):
        table.add_row(*row)
    return table


def _console() -> Console:
    """Into a file or a pipe nothing is cut short."""
    return Console(width=None if sys.stdout.isatty() else WIDE)
