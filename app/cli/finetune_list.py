"""`qwen-workbench finetune list`, `stop` and `pause`: the runs of this machine, whoever started them.

Invariant: with --json standard output holds JSON and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from app.cli.finetune_run import RunId, found
from app.cli.run_news import described, short, state_words
from app.cli.session import training
from app.cli.transfer import print_json
from app.services.inference import as_error
from app.services.training import Run
from core.protocol.messages import Failed
from core.training.run_files import RunFiles
from core.translation import say

AsJson = Annotated[bool, typer.Option("--json", help=say("library.help_json"))]
NAME_MOST = 32


def list_runs(as_json: AsJson = False) -> None:
    asyncio.run(_list(as_json))


def stop_run(run: RunId, as_json: AsJson = False) -> None:
    asyncio.run(_ask(run, "stop", as_json))


def pause_run(run: RunId, as_json: AsJson = False) -> None:
    asyncio.run(_ask(run, "pause", as_json))


async def _list(as_json: bool) -> None:
    async with training() as service:
        await service.open()
        runs = service.runs
    if as_json:
        print_json({"runs": [described(run) for run in runs]})
    elif not runs:
        print(say("finetune.no_runs"))
    else:
        Console().print(_table(runs))


async def _ask(name: str, what: Literal["stop", "pause"], as_json: bool) -> None:
    async with training() as service:
        await service.open()
        run = found(service, name)
        kept = RunFiles(run.path).saved_steps() if what == "stop" and not run.status.is_alive else []
        over: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        service.ended.listen(lambda ended: over.set_result(ended) if ended.id == run.id and not over.done() else None)
        await (service.stop(run.id) if what == "stop" else service.pause(run.id))
        ended = await over
    if isinstance(ended.status.end, Failed):
        raise as_error(ended.status.end)
    if as_json:
        print_json(described(ended))
        return
    print(ended.status)
    if kept:
        print(say("finetune.kept", step=kept[-1]))
    if what == "stop" and ended.result:
        print(say("finetune.result", name=ended.result))


def _table(runs: list[Run]) -> Table:
    table = Table(box=None, pad_edge=False)
    for key in ("run", "model", "method", "steps", "loss", "best", "result", "state"):
        table.add_column(say(f"finetune.column_{key}"), overflow="fold")
    for run in runs:
        loss = run.latest.get("loss")
        steps = f"{run.status.step}/{run.steps or '?'}"
        shown = "" if loss is None else f"{loss:.4f}"
        best = say("finetune.best_step", step=run.best.step, loss=f"{run.best.loss:.4f}") if run.best else ""
        names = short(run.id, NAME_MOST), short(run.result, NAME_MOST)
        row = (names[0], run.origin.model, run.recipe.method, steps, shown, best, names[1], state_words(run))
        table.add_row(*row)
    return table
