"""A table as text for others: CSV with every figure, Markdown to be read. Plain numbers, always in English.

Invariant: one row a cell, and nothing is left out: a cell without figures says why.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence

from core.errors import UserError
from core.figures import size
from core.profiling.plan import ProfilePlan
from core.profiling.readme_table import DEVICE, GIB, compared, relative
from core.profiling.result import CellResult
from core.translation import say

Value = str | float | int | None
Forms = dict[tuple[str, str, str], float]
Column = Callable[[CellResult], Value]


def _of(part: str, name: str) -> Column:
    return lambda result: getattr(getattr(result, part), name, None)


COLUMNS: dict[str, Column] = {
    "model": lambda r: r.cell.subject.name,
    "kind": lambda r: r.cell.kind,
    "weights": lambda r: r.cell.weights,
    "kv_cache": lambda r: r.cell.kv_cache,
    "prompt": lambda r: r.cell.case.prompt if r.cell.case else None,
    "new": lambda r: r.cell.case.new if r.cell.case else None,
    "batch": lambda r: r.cell.case.batch if r.cell.case else None,
    "method": lambda r: r.cell.training.method if r.cell.training else None,
    "length": lambda r: r.cell.training.length if r.cell.training else None,
    "rows_a_step": lambda r: r.cell.training.accumulate if r.cell.training else None,
    "embeddings": lambda r: int(r.cell.training.embeddings) if r.cell.training else None,
    "state": lambda r: r.state,
    "why": lambda r: r.code,
    "load_s": lambda r: r.load_s or None,
    "prompt_tokens_per_s": _of("inference", "prompt_tokens_per_s"),
    "first_token_s": _of("inference", "first_token_s"),
    "decode_tokens_per_s": _of("inference", "decode_tokens_per_s"),
    "token_s_p50": _of("inference", "token_s_p50"),
    "token_s_p99": _of("inference", "token_s_p99"),
    "whole_tokens_per_s": _of("inference", "whole_tokens_per_s"),
    "step_s": _of("training", "step_s"),
    "training_tokens_per_s": _of("training", "tokens_per_s"),
    "perplexity": _of("quality", "perplexity"),
    "peak_bytes": lambda r: r.peak_bytes or None,
    "card_allocated_bytes": lambda r: r.card_peak_bytes or None,
    "card_context_bytes": lambda r: r.context_bytes or None,
    "estimate_bytes": lambda r: r.estimate.total if r.estimate else None,
    "estimate_error": lambda r: r.estimate_error,
    "bandwidth_share": lambda r: r.bandwidth_share,
    "matrix_share": lambda r: r.matrix_share,
    "power_w": lambda r: r.power_w,
    "decoder": _of("inference", "decoder"),
    "backend": _of("inference", "backend"),
    "precision": _of("inference", "precision"),
    "measured_at": lambda r: r.measured_at.isoformat(timespec="seconds"),
    "device": lambda r: r.machine.device if r.machine else None,
    "driver": lambda r: r.machine.driver if r.machine else None,
    "torch": lambda r: r.versions.get("torch"),
    "command": lambda r: r.command,
}  # fmt: skip


def csv_of(results: Iterable[CellResult]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        writer.writerow(["" if (value := column(result)) is None else value for column in COLUMNS.values()])
    return out.getvalue()


def markdown_of(name: str, plan: ProfilePlan, results: Sequence[CellResult]) -> str:
    parts = [f"# {name}", *_origin(results)]
    if inference := [r for r in results if r.cell.kind == "inference"]:
        perplexities: Forms = {(r.cell.subject.name, r.cell.weights, r.cell.kv_cache): r.quality.perplexity
                        for r in results if r.quality}  # fmt: skip
        head = ["Model", "Weights", "KV", "Prompt + new x batch", "Prefill tok/s", "First token s", "Decode tok/s",
                "p50 / p99 ms", "Peak", "Estimate", "Bandwidth", "Perplexity", ""]  # fmt: skip
        rows = [_inference_row(result, perplexities) for result in inference]
        parts.append(_table(head, rows))
    if training := [r for r in results if r.cell.kind == "training"]:
        head = ["Model", "Method", "Length x rows", "s/step", "Tokens/s", "Peak", "Estimate", ""]
        parts.append(_table(head, [_training_row(result) for result in training]))
    if plan.preset:
        head = ["Model", "Form", "Case", "", f"README ({DEVICE})", "Here", "Ratio"]
        rows = [*_compared_rows(results)]
        if any(row[4] for row in rows):
            parts.append(_table(head, rows))
        elif ratios := relative(results):
            head = ["Model", "Form", "", f"README, 7B ({DEVICE})", "Here"]
            parts.append(
                _table(head, [[one.model, f"{one.weights} : bfloat16", one.quantity, f"{one.published:.2f}",
                               f"{one.measured:.2f}"] for one in ratios])
            )  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _origin(results: Sequence[CellResult]) -> list[str]:
    if not results or results[0].machine is None:
        return []
    last, machine = results[-1], results[0].machine
    versions = ", ".join(f"{name} {version}" for name, version in last.versions.items())
    card = f"{machine.card} (driver {machine.driver}), " if machine.card else ""
    day = last.measured_at.date().isoformat()
    return [f"{card}{machine.processor}, {machine.cores} cores, {size(machine.memory_bytes)}; {machine.system}; "
            f"{versions}; {day}."]  # fmt: skip


def _inference_row(result: CellResult, perplexities: Forms) -> list[str]:
    cell, found, case = result.cell, result.inference, result.cell.case
    assert case is not None
    form = (cell.subject.name, cell.weights, cell.kv_cache)
    share = f"{result.bandwidth_share:.0%}" if result.bandwidth_share is not None else ""
    figures = [""] * 4
    if found is not None:
        per_token = f"{1000 * found.token_s_p50:.1f} / {1000 * found.token_s_p99:.1f}" if found.token_s_p50 else ""
        decoded = f"{found.decode_tokens_per_s:.1f}" if found.decode_tokens_per_s else ""
        figures = [f"{found.prompt_tokens_per_s:.0f}", f"{found.first_token_s:.3f}", decoded, per_token]
    perplexity = f"{perplexities[form]:.3f}" if form in perplexities else ""
    return [*form, f"{case.prompt} + {case.new} x {case.batch}", *figures, _size(result.whole_peak), _estimate(result),
            share, perplexity, why(result)]  # fmt: skip


def _training_row(result: CellResult) -> list[str]:
    work, found = result.cell.training, result.training
    assert work is not None
    figures = [f"{found.step_s:.2f}", f"{found.tokens_per_s:.0f}"] if found is not None else ["", ""]
    method = work.method + (" (emb)" if work.embeddings else "")
    return [result.cell.subject.name, method, f"{work.length} x {work.accumulate}", *figures, _size(result.whole_peak),
            _estimate(result), why(result)]  # fmt: skip


def _compared_rows(results: Iterable[CellResult]) -> Iterable[list[str]]:
    for one in compared(results):
        cell = one.cell
        form = cell.training.method if cell.training else f"{cell.weights}, KV {cell.kv_cache}"
        case = cell.key.rpartition("|")[2]
        here = "out of memory" if one.is_out_of_memory else said(one.quantity, one.measured)
        ratio = f"{one.ratio:.2f}" if one.ratio is not None else ""
        yield [cell.subject.name, form, case, one.quantity, said(one.quantity, one.published), here, ratio]


def said(quantity: str, value: float | None) -> str:
    if value is None:
        return ""
    return {"memory": gib, "speed": "{:.2f} tok/s".format, "step": "{:.2f} s/it".format}[quantity](value)


def why(result: CellResult) -> str:
    """In words, for a cell without figures; in the language of now, whichever it was measured in."""
    if result.state == "done" or not result.code:
        return ""
    named = {"worker": say("worker.profile")} if "worker" in result.params else {}  # no other one measures
    return str(UserError(result.code, **{**result.params, **named}))


def gib(count: float) -> str:
    """As the README writes memory: its GB are of 1024."""
    return f"{count / GIB:.2f} GiB" if count else ""


def _size(count: int) -> str:
    return size(count) if count else ""


def _estimate(result: CellResult) -> str:
    if result.estimate is None:
        return ""
    error = result.estimate_error
    return size(result.estimate.total) + (f" ({error:+.1%})" if error is not None else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
