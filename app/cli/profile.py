"""`qwen-workbench profile`: measures models on this machine, and shows, compares and exports what was measured.

Same service as the window. Invariant: with --json standard output holds JSON lines and nothing else, one for each cell
as soon as it is measured; how far the table is goes to standard error, and so does why a cell has no figures. The exit
code is 1 where a cell was tried in vain, or none was measured; cells that were not begun because they cannot run are no
failure.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from app.cli import profile_plan, profile_tables
from app.cli.profile_plan import Asked
from app.cli.session import profiling
from app.services.profiling import Format, ProfilingService
from app.services.profiling_news import CellBegan, CellEnded, News, Probed, TableBegan, TableEnded
from core import figures
from core.errors import UserError
from core.profiling import export
from core.profiling.plan import Preset
from core.profiling.result import CellResult
from core.store.records import ProfileRun
from core.translation import say

app = typer.Typer(invoke_without_command=True)

AsJson = Annotated[bool, typer.Option("--json", help=say("profile.help_json"))]
RunId = Annotated[int, typer.Argument(metavar="ID", parser=profile_plan.table_of, help=say("profile.help_id"))]
Device = Annotated[str, typer.Option("--device", help=say("profile.help_device"))]
Csv = Annotated[Path | None, typer.Option("--csv", help=say("profile.help_csv"))]
Markdown = Annotated[Path | None, typer.Option("--markdown", help=say("profile.help_markdown"))]


@app.callback()
def profile(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Option("--model", "-m", help=say("profile.help_model"))] = None,
    architectures: Annotated[
        list[str] | None, typer.Option("--architecture", help=say("profile.help_architecture"))
    ] = None,
    weights: Annotated[str, typer.Option("--weights", help=say("profile.help_weights"))] = "",
    kv: Annotated[str, typer.Option("--kv", help=say("profile.help_kv"))] = "",
    prompt: Annotated[str, typer.Option("--prompt", "--context", help=say("profile.help_prompt"))] = "",
    new: Annotated[str, typer.Option("--new", "--generate", help=say("profile.help_new"))] = "",
    batch: Annotated[str, typer.Option("--batch", help=say("profile.help_batch"))] = "",
    train: Annotated[str, typer.Option("--train", help=say("profile.help_train"))] = "",
    length: Annotated[str, typer.Option("--length", help=say("profile.help_length"))] = "",
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help=say("profile.help_accumulate"))] = 8,
    preset: Annotated[str, typer.Option("--preset", help=say("profile.help_preset"))] = "",
    quality: Annotated[bool, typer.Option("--quality", help=say("profile.help_quality"))] = False,
    only_quality: Annotated[bool, typer.Option("--only-quality", help=say("profile.help_only_quality"))] = False,
    repeats: Annotated[int, typer.Option("--repeats", min=0, max=100, help=say("profile.help_repeats"))] = 0,
    device: Device = "auto",
    threads: Annotated[int, typer.Option("--threads", min=0, help=say("profile.help_threads"))] = 0,
    snapshot: Annotated[bool, typer.Option("--snapshot", help=say("profile.help_snapshot"))] = False,
    name: Annotated[str, typer.Option("--name", help=say("profile.help_name"))] = "",
    csv: Csv = None,
    markdown: Markdown = None,
    as_json: AsJson = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    known: Preset = profile_plan.preset_of(preset)
    asked = Asked(
        tuple(models or ()), tuple(architectures or ()), weights, kv, prompt, new, batch, train, length, accumulate,
        known, quality, only_quality, repeats, profile_plan.device_of(device), threads, snapshot, name,
    )  # fmt: skip
    profile_plan.need_meaning(asked)
    _need_places(csv, markdown)
    if not asked.models and not asked.architectures and not known:
        raise typer.BadParameter(say("profile.nothing_named"))

    async def measured(service: ProfilingService) -> None:
        plan = profile_plan.made(asked, service)
        await _measured(service, service.start(plan), as_json, csv, markdown)

    _with_service(measured)


@app.command("resume", help=say("profile.resume"))
def resume(
    run_id: RunId,
    failed_too: Annotated[bool, typer.Option("--failed", help=say("profile.help_failed"))] = False,
    csv: Csv = None,
    markdown: Markdown = None,
    as_json: AsJson = False,
) -> None:
    _need_places(csv, markdown)
    _with_service(
        lambda service: _measured(service, service.resume(run_id, failed_too=failed_too), as_json, csv, markdown)
    )


@app.command("list", help=say("profile.list"))
def list_(as_json: AsJson = False) -> None:
    async def listed(service: ProfilingService) -> None:
        runs = await service.runs()
        if as_json:
            print(json.dumps({"runs": [_run(run) for run in runs]}, ensure_ascii=False))
        elif runs:
            profile_tables.show_runs(runs)
        else:
            print(say("profile.none"))

    _with_service(listed)


@app.command("show", help=say("profile.show"))
def show(run_id: RunId, as_json: AsJson = False) -> None:
    async def shown(service: ProfilingService) -> None:
        run, results = await service.run(run_id)
        if as_json:
            print(json.dumps({**_run(run), "results": [_result(result) for result in results]}, ensure_ascii=False))
        else:
            profile_tables.show(run, results)

    _with_service(shown)


@app.command("compare", help=say("profile.compare"))
def compare(first: RunId, second: RunId, as_json: AsJson = False) -> None:
    async def compared(service: ProfilingService) -> None:
        (one, before), (other, after) = await service.run(first), await service.run(second)
        rows = profile_tables.compared(before, after)
        if as_json:
            print(json.dumps({"first": _run(one), "second": _run(other), "cells": rows}, ensure_ascii=False))
        elif rows:
            profile_tables.show_compared(one, other, rows)
        if not rows:
            raise UserError("profile_nothing_in_common", first=first, second=second)

    _with_service(compared)


@app.command("export", help=say("profile.export"))
def export_(run_id: RunId, csv: Csv = None, markdown: Markdown = None) -> None:
    _need_places(csv, markdown)

    async def exported(service: ProfilingService) -> None:
        await _export(service, run_id, csv, markdown)
        if csv is None and markdown is None:
            print(await service.export(run_id, "markdown"), end="")

    _with_service(exported)


@app.command("delete", help=say("profile.delete"))
def delete(run_id: RunId) -> None:
    async def deleted(service: ProfilingService) -> None:
        gone = await service.delete(run_id)
        print(say("profile.deleted", id=run_id, name=gone.run.name))

    _with_service(deleted)


@app.command("limits", help=say("profile.limits"))
def limits(
    anew: Annotated[bool, typer.Option("--anew", help=say("profile.help_anew"))] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    place = profile_plan.device_of(device)

    async def probed(service: ProfilingService) -> None:
        probe = await service.probe(anew=anew, device=place)
        if as_json:
            print(json.dumps(msgspec.to_builtins(probe), ensure_ascii=False))
        else:
            profile_tables.show_limits(probe)

    _with_service(probed)


# --- a table under way ----------------------------------------------------------------


async def _measured(
    service: ProfilingService,
    events: AsyncGenerator[News, None],
    as_json: bool,
    csv: Path | None,
    markdown: Path | None,
) -> None:
    run: ProfileRun | None = None
    try:
        async with aclosing(events) as news:
            async for one in news:
                if isinstance(one, TableBegan | TableEnded):
                    run = one.run
                _tell(one, as_json)
    except asyncio.CancelledError:
        print(say("profile.to_resume", id=run.id) if run is not None else say("cli.stopped"), file=sys.stderr)
        raise
    assert run is not None
    run, results = await service.run(run.id)
    if not as_json:
        profile_tables.show(run, results, has_reasons=False)  # they stand on standard error
    await _export(service, run.id, csv, markdown)
    if not run.measured:
        _need_no_bug(results)
    if run.lost:
        raise UserError("profile_lost", count=run.lost, cells=run.cells, run=run.id)
    if not run.measured:
        raise UserError("profile_none_run", run=run.id)


def _need_no_bug(results: list[CellResult]) -> None:
    """Where nothing came out, a bug of ours is told as one."""
    for result in results:
        if result.code == "bug":
            error = RuntimeError(str(result.params.get("what", "")))
            error.add_note(result.detail)
            raise error


def _tell(one: News, as_json: bool) -> None:
    match one:
        case TableBegan(run, cells, results):
            if as_json:
                _print({"event": "began", **_run(run), "kept": len(results)})
            else:
                print(say("profile.began", id=run.id, name=run.name, count=len(cells)), file=sys.stderr)
        case Probed(probe):
            if as_json:
                _print({"event": "limits", "limits": msgspec.to_builtins(probe)})
        case CellBegan(index, cell, _, left_s):
            left = say("profile.left", time=figures.duration(left_s)) if left_s else ""
            print(f"[{index + 1}] {profile_tables.title(cell)} {left}".rstrip(), file=sys.stderr)
        case CellEnded(index, result, _, left_s):
            if as_json:
                _print({"event": "cell", "index": index, "left_s": left_s, **_result(result)})
            if reason := export.why(result):
                print(f"    {reason}", file=sys.stderr)
        case TableEnded(run, state):
            if as_json:
                _print({"event": "ended", **_run(run), "state": state})
        case _:
            pass


async def _export(service: ProfilingService, run_id: int, csv: Path | None, markdown: Path | None) -> None:
    """Each of them, also where the other one cannot be written."""
    wanted: list[tuple[Format, Path | None]] = [("csv", csv), ("markdown", markdown)]
    errors = []
    for form, file in wanted:
        try:
            if file is not None:
                await service.export(run_id, form, file)
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _need_places(*files: Path | None) -> None:
    """Before hours are spent: where the table shall be written to can be.

    Raises:
        typer.BadParameter: "-", which is no file.
        UserError: profile_place.
    """
    for file in files:
        if file is None:
            continue
        if str(file) == "-":
            raise typer.BadParameter(say("profile.no_dash"))
        folder = file.absolute().parent
        if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise UserError("profile_place", file=str(file))


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


def _run(run: ProfileRun) -> dict[str, Any]:
    return {
        "id": run.id, "name": run.name, "state": run.state, "cells": run.cells, "measured": run.measured,
        "lost": run.lost, "device": run.device, "preset": run.plan.preset,
        "created": run.created.isoformat(timespec="seconds"),
    }  # fmt: skip


def _result(result: CellResult) -> dict[str, Any]:
    """Without its timeline, which would bury the figures, and with what is derived."""
    found: dict[str, Any] = msgspec.to_builtins(result)
    del found["timeline"]
    found["cell"]["subject"].pop("config")
    reason = export.why(result)
    return found | {"key": result.cell.key, "kind": result.cell.kind, "estimate_error": result.estimate_error,
                    "reason": reason}  # fmt: skip


def _with_service(work: Callable[[ProfilingService], Awaitable[None]]) -> None:
    async def run() -> None:
        async with profiling() as service:
            await work(service)

    asyncio.run(run())
