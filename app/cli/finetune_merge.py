"""`qwen-workbench finetune merge` and `export`: what a run left, as a model of its own or in a folder elsewhere.

Invariant: nothing is overwritten; with --json standard output holds JSON lines and nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.model_facts import facts
from app.cli.session import library
from app.cli.transfer import print_json, shown
from app.detached import status
from app.services.library import LibraryService
from core import paths
from core.errors import UserError
from core.models.steps import result
from core.protocol.messages import Finished, JobEvent, ModelStored
from core.training import exporting
from core.training.exporting import BaseAs
from core.training.run_files import CONFIG, RESULT, RunFiles
from core.translation import say

CANCELLED = 130

What = Annotated[str, typer.Argument(metavar="RUN|ADAPTER", help=say("finetune.help_what"))]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help=say("finetune.help_merge_out"))]
Name = Annotated[str, typer.Option("--name", help=say("finetune.help_merge_name"))]
Base = Annotated[str, typer.Option("--base", help=say("finetune.help_merge_base"))]
To = Annotated[Path, typer.Option("--to", metavar="DIR", help=say("finetune.help_to"))]
Form = Annotated[Literal["adapter", "merged", "int4"], typer.Option("--format", help=say("finetune.help_format"))]
HowBase = Annotated[BaseAs, typer.Option("--base-as", help=say("finetune.help_base_as"))]
AsJson = Annotated[bool, typer.Option("--json", help=say("library.help_json"))]


def merge(what: What, out: Out = None, name: Name = "", base: Base = "", as_json: AsJson = False) -> None:
    if out and name:
        raise typer.BadParameter(say("finetune.one_place"), param_hint="'--out' / '--name'")
    asyncio.run(_merge(what, out, name, base, as_json))


def export(what: What, to: To, form: Form = "adapter", base_as: HowBase = "absolute", as_json: AsJson = False) -> None:
    if form == "merged":
        asyncio.run(_merge(what, to, "", "", as_json))
        return
    if form == "int4":
        asyncio.run(_write_int4(what, to, as_json))
        return
    service = library()
    source, base = _left(service, what), ""
    files = service.files_of(str(source))
    if files.adapter is not None:
        base = exporting.name_of_base(files.folder, to, files.base, base_as)
    told = result(exporting.export(source, to, base))
    if as_json:
        print_json({"event": "exported", "folder": str(told), "base": base or None})
    else:
        print(say("finetune.exported", folder=str(told)))


async def _merge(what: str, out: Path | None, name: str, base: str, as_json: bool) -> None:
    service = library()
    try:
        adapter = _named(service, what)
        await _told(service, service.merge(adapter, name, base=base, out=out), as_json)
    finally:
        await service.close()


async def _write_int4(what: str, to: Path, as_json: bool) -> None:
    service = library()
    try:
        await _told(service, service.write_int4(_named(service, what), to), as_json, "finetune.exported")
    finally:
        await service.close()


async def _told(
    service: LibraryService, events: AsyncGenerator[JobEvent, None], as_json: bool, done: str = "finetune.merged"
) -> None:
    async for event in shown(events, as_json=as_json):
        if isinstance(event, ModelStored):
            for notice in event.notices:
                print(say(f"notice.{notice.code}", **notice.params), file=sys.stderr)
            model = service.find(
                event.folder if Path(event.folder).parent != service.folder else Path(event.folder).name
            )
            if as_json:
                notices = [{"code": notice.code, **notice.params} for notice in event.notices]
                print_json({"event": "stored", "model": facts(model), "notices": notices})
            else:
                print(say(done, name=model.manifest.name, folder=event.folder))
        elif isinstance(event, Finished) and event.reason == "cancelled":
            raise typer.Exit(CANCELLED)


def _named(service: LibraryService, what: str) -> str:
    """An adapter by its name in the library, where it has one: that is what the merged model is told to be from."""
    left = _left(service, what)
    known = service.at(left)
    return known.manifest.name if known else str(left)


def _left(service: LibraryService, what: str) -> Path:
    """The folder of what a run left, or of an adapter of the library or elsewhere.

    Raises:
        UserError: as _without_result, model_unknown.
    """
    for place in (paths.runs() / what, Path(what).expanduser()):
        if (place / CONFIG).is_file():
            if not (place / RESULT).is_dir():
                raise _without_result(place)
            return (place / RESULT).absolute()
    return service.find(what).files_folder


def _without_result(run: Path) -> UserError:
    """What can be done about it, as the run stands."""
    found, steps = status(run), RunFiles(run).saved_steps()
    state = say(f"finetune.state_{found.state}")
    if found.is_alive:
        return UserError("run_without_result", run=run.name)
    if steps:
        return UserError("run_rests_without_result", run=run.name, state=state, step=steps[-1])
    return UserError("run_left_nothing", run=run.name, state=state)
