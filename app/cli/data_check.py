"""`qwen-workbench finetune check`: what is in a file of training data, what is wrong with it, and a mended copy.

Invariant: with --json standard output holds one JSON object and nothing else. Exit code 0 says the file can be trained
on, 1 that nothing in it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from app.cli.session import library
from app.cli.transfer import print_json, shown
from app.services.datasets import DatasetService
from core import figures
from core.data.conversation import Mask
from core.data.guess import GUESSED
from core.data.problems import KINDS, Problem
from core.data.report import BINS, DataReport, Leaks, Lengths
from core.data.shape import Columns
from core.errors import UserError
from core.protocol.messages import DataChecked, DataFile, DataMended, JobEvent
from core.translation import say

SHOWN, PLACES = 20, 5  # sentences, and places of each
T = TypeVar("T", bound=JobEvent)

Data = Annotated[Path, typer.Argument(metavar="DATA", help=say("finetune.help_data"))]
Model = Annotated[str, typer.Option("--model", "-m", help=say("finetune.help_model"))]
Length = Annotated[int, typer.Option("--length", min=0, help=say("finetune.help_length"))]
MaskOf = Annotated[Mask, typer.Option("--mask", help=say("finetune.help_mask"))]
EvalData = Annotated[Path | None, typer.Option("--eval-data", help=say("finetune.help_eval_data"))]
Share = Annotated[float, typer.Option("--validation", min=0.0, max=0.9, help=say("finetune.help_validation"))]
Mapping = Annotated[list[str] | None, typer.Option("--column", metavar="NAME=COLUMN", help=say("finetune.help_column"))]
Mend = Annotated[Path | None, typer.Option("--mend", metavar="OUT", help=say("finetune.help_mend"))]
Fix = Annotated[list[str] | None, typer.Option("--fix", metavar="CODE", help=say("finetune.help_fix"))]
Drop = Annotated[list[str] | None, typer.Option("--drop", metavar="CODE", help=say("finetune.help_drop"))]
AsJson = Annotated[bool, typer.Option("--json", help=say("cli.help_json"))]


def check_data(
    data: Data,
    model: Model = "",
    length: Length = 0,
    mask: MaskOf = "answers",
    validation: Share = 0.0,
    eval_data: EvalData = None,
    column: Mapping = None,
    mend: Mend = None,
    fix: Fix = None,
    drop: Drop = None,
    as_json: AsJson = False,
) -> None:
    _codes("--fix", fix or [], is_mended=mend is not None)
    _codes("--drop", drop or [], is_mended=mend is not None)
    folder = str(library().files_of(model).folder) if model else ""
    file = DataFile(str(data.absolute()), _columns(column or []), folder, mask, length)
    apart = str(eval_data.absolute()) if eval_data else ""
    report, mended = asyncio.run(_check(file, validation, apart, mend, fix, drop))
    if as_json:
        print_json(_as_json(report, mended))
    else:
        _print(report, mended)
    if not report.columns.is_enough and report.names:
        raise UserError("data_columns_unknown", file=str(data), columns=", ".join(report.names))
    if not report.usable_rows and not (mended and mended.kept):
        raise UserError("data_nothing_usable", file=str(data), count=report.rows)


async def _check(
    file: DataFile, share: float, apart: str, target: Path | None, fix: list[str] | None, drop: list[str] | None
) -> tuple[DataReport, DataMended | None]:
    service = DatasetService()
    try:
        checked = await _last(service.check(file, validation_share=share, eval_data=apart), DataChecked)
        report, mended = checked.report, None
        if target is not None and report.columns.is_enough:
            wanted = [code for code, kind in KINDS.items() if kind.fix] if fix is None and drop is None else fix or []
            mended = await _last(service.mend(file, target.absolute(), wanted, drop or []), DataMended)
        return report, mended
    finally:
        await service.close()


async def _last(events: AsyncGenerator[JobEvent, None], kind: type[T]) -> T:
    found: T | None = None
    async for event in shown(events):
        found = event if isinstance(event, kind) else found
    if found is None:
        raise UserError("data_check_stopped")
    return found


def _columns(given: list[str]) -> Columns:
    pairs = dict(one.partition("=")[::2] for one in given)
    known = Columns.__struct_fields__
    if not all(name in known and column for name, column in pairs.items()):
        raise typer.BadParameter(say("finetune.column_form", names=", ".join(known)), param_hint="'--column'")
    columns = Columns(**pairs)
    if given and not columns.is_enough:
        raise typer.BadParameter(say("finetune.columns_few"), param_hint="'--column'")
    return columns


def _codes(option: str, given: list[str], *, is_mended: bool) -> None:
    """
    Raises:
        typer.BadParameter: kinds of problems that nobody knows, or that nothing is done about.
    """
    if unknown := [code for code in given if code not in KINDS]:
        raise typer.BadParameter(
            say("finetune.code_unknown", code=unknown[0], codes=", ".join(KINDS)), param_hint=f"'{option}'"
        )
    if given and not is_mended:
        raise typer.BadParameter(say("finetune.needs_mend", option=option), param_hint=f"'{option}'")


def _print(report: DataReport, mended: DataMended | None) -> None:
    kind = say(f"data.format_{report.format}")
    print(say("finetune.file", file=report.file, kind=report.kind, format=kind, encoding=report.encoding,
              size=figures.size(report.bytes)))  # fmt: skip
    if report.encoding in GUESSED:
        print(say("data.encoding_guess", encoding=report.encoding))
    print(say("finetune.rows", **_marked(rows=report.rows, usable=report.usable_rows, duplicates=report.duplicates)))
    if report.validation_rows:
        print(say("finetune.split", **_marked(train=report.train_rows, validation=report.validation_rows)))
    if report.lengths is not None:
        _print_lengths(report.lengths, report.usable_rows)
    if report.leaks is not None:
        _print_leaks(report.leaks)
    for code, rows in report.counts:
        title = say(f"finetune_ui.kind_{code}") if code in KINDS else code
        print(say("finetune.count", title=title, code=code, count=figures.count(rows)))
    _print_problems(report)
    if mended is not None:
        counts = _marked(kept=mended.kept, rows=mended.rows, changed=mended.changed)
        print(say("finetune.mended", file=mended.path, **counts))


def _print_problems(report: DataReport) -> None:
    """What is said of several rows is said once, with the first places."""
    groups: dict[str, list[Problem]] = {}
    for one in report.problems:
        groups.setdefault(one.sentence(), []).append(one)
    for sentence, found in list(groups.items())[:SHOWN]:
        print(f"  {_places(found, by_row=report.kind in ('json', 'parquet'))} {sentence}")


def _places(found: list[Problem], *, by_row: bool) -> str:
    """by_row: a line tells little where many rows may stand on one"""
    unit, more = "row" if by_row else "line", len(found) - PLACES
    if len(found) == 1:
        one = found[0]
        return say("finetune.at_row_line" if by_row and one.line else f"finetune.at_{unit}", row=one.row, line=one.line)
    places = ", ".join(str(one.row if by_row else one.line) for one in found[:PLACES])
    key = f"finetune.at_{unit}s_more" if more > 0 else f"finetune.at_{unit}s"
    return say(key, places=places, more=figures.count(max(0, more)))


def _marked(**counts: int) -> dict[str, str]:
    return {name: figures.count(count) for name, count in counts.items()}


def _print_lengths(lengths: Lengths, usable: int) -> None:
    if lengths.counted < usable:
        print(say("finetune.sampled", **_marked(counted=lengths.counted, rows=usable)))
    counts = _marked(tokens=lengths.tokens, learned=lengths.learned, longest=lengths.longest)
    print(say("finetune.tokens", row=lengths.longest_row, **counts))
    if lengths.limit:
        counts = _marked(limit=lengths.limit, rows=lengths.cut_rows, lost=lengths.lost_rows)
        print(say("finetune.cut", share=f"{lengths.cut_learned:.1%}", **counts))
    for end, count in zip((*BINS, None), lengths.histogram, strict=True):
        if count:
            print(f"  {f'≤ {end:,}' if end else f'> {BINS[-1]:,}':>8}  {count:,}")


def _print_leaks(leaks: Leaks) -> None:
    key = "finetune.leaks" if leaks.questions else "finetune.no_leaks"
    counts = _marked(rows=leaks.rows_checked, questions=leaks.questions, answers=leaks.answers)
    print(say(key, file=leaks.file, **counts))


def _as_json(report: DataReport, mended: DataMended | None) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(report)
    told["counts"], told["roles"] = dict(report.counts), dict(report.roles)
    for one, problem in zip(told["problems"], report.problems, strict=True):
        one["sentence"] = problem.sentence()
    if mended is not None:
        told["mended"] = {"file": mended.path, "kept": mended.kept, "changed": mended.changed}
    return told
