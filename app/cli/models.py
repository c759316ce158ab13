"""`qwen-workbench models`: list, search, pull, import, verify, show, plan, remove. Same services as the window.

Invariant: with --json standard output holds JSON and nothing else, one object or one object a line; progress and
sentences go to standard error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.cli import pull as pulling
from app.cli.model_facts import facts
from app.cli.plan import plan_model
from app.cli.search import search
from app.cli.session import library
from app.cli.transfer import print_json, shown
from app.services import details
from app.services.details import Details
from app.services.installed import Installed, Wanted, by_base
from app.services.library import LibraryService, need_intact
from core import figures
from core.errors import UserError
from core.protocol.messages import FileVerified
from core.translation import say

app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help=say("library.help_json"))]
Name = Annotated[str, typer.Argument(metavar="NAME", help=say("library.help_name"))]


@app.command("list", help=say("library.list"))
def list_models(as_json: AsJson = False) -> None:
    async def listed(service: LibraryService) -> None:
        models = by_base(await service.installed())
        if as_json:
            print_json({"models": [facts(model) for model in models]})
        elif models:
            Console().print(_table(models))
        else:
            print(say("library.none"))

    _with_library(listed)


@app.command("pull", help=say("library.pull"))
def pull(
    name: Name,
    place: pulling.From = None,
    revision: pulling.Revision = "",
    file: pulling.File = "",
    new_name: pulling.NewName = "",
    base: pulling.Base = "",
    accept: pulling.Accept = False,
    convert_pickle: pulling.Pickle = False,
    as_json: AsJson = False,
) -> None:
    offer = pulling.offer_of(name, place, revision)
    wanted = Wanted(new_name or offer.name, offer.sources, file, base, convert_pickle)
    _with_library(lambda service: pulling.pull_model(service, wanted, offer, accept=accept, as_json=as_json))


app.command("search", help=say("pull.search"))(search)


@app.command("found", help=say("pull.found_help"))
def found(as_json: AsJson = False) -> None:
    async def listed(service: LibraryService) -> None:
        models = await service.found_here()
        if as_json:
            facts_ = [{"id": one.source.id, "hub": one.source.place, "folder": str(one.folder),
                       "size_bytes": one.size_bytes} for one in models]  # fmt: skip
            print_json({"found": facts_})
            return
        print(say("pull.found" if models else "pull.found_none"))
        for one in models:
            print(f"  {one.source.id}  {figures.size(one.size_bytes)}  {one.folder}")

    _with_library(listed)


@app.command("import", help=say("library.import"))
def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help=say("library.help_path"))],
    name: Annotated[str, typer.Option("--name", help=say("library.help_new_name"))] = "",
    base: Annotated[str, typer.Option("--base", help=say("library.help_base"))] = "",
    convert_pickle: Annotated[bool, typer.Option("--convert-pickle", help=say("library.help_pickle"))] = False,
    keep: Annotated[bool, typer.Option("--keep", help=say("pull.help_keep"))] = False,
    as_json: AsJson = False,
) -> None:
    async def imported(service: LibraryService) -> None:
        cached = await service.cached_at(path) if keep else None
        if cached is not None and not base:
            events = service.take_over(cached, name)
        else:
            events = service.import_(path, name, convert_pickle=convert_pickle, base=base, keeps=keep)
        await pulling.stored(service, events, as_json)

    _with_library(imported)


@app.command("verify", help=say("library.verify"))
def verify(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help=say("library.help_verify"))] = "",
    as_json: AsJson = False,
) -> None:
    async def verified(service: LibraryService) -> None:
        names = [name] if name else [model.manifest.name for model in await service.installed()]
        damage: list[UserError] = []
        if not names:
            print(say("library.none"), file=sys.stderr)
        for one in names:
            try:
                await _verify(service, one, as_json)
            except UserError as error:
                damage.append(error)
        for earlier in damage[:-1]:
            print(earlier, file=sys.stderr)
        if damage:
            raise damage[-1]

    _with_library(verified)


@app.command("show", help=say("library.show"))
def show(name: Name, as_json: AsJson = False) -> None:
    async def shown(service: LibraryService) -> None:
        model = service.find(name)
        known, notes = facts(model), {}
        if model.is_gone:
            gone = UserError("model_folder_gone", name=model.manifest.name, folder=str(model.files_folder))
            notes = {gone.code: str(gone)}
        else:
            found = await details.read(model)
            known |= _detailed(found)
            notes = {code: say(f"notice.{code}") for code in found.remarks}
            notes |= {notice.code: say(f"notice.{notice.code}", **notice.params) for notice in found.notices}
        if as_json:
            print_json({**known, "files": [_file(record) for record in model.manifest.files], "notices": notes})
            return
        for key, value in known.items():
            if value not in ("", [], 0):
                print(f"{say(f'library.fact_{key}')}: {_worded(key, value)}")
        for adapter in service.adapters_of(model.manifest.name):
            print(say("library.has_adapter", name=adapter))
        for record in model.manifest.files:
            print(f"  {record.name}  {figures.size(record.size_bytes)}  sha256 {record.sha256}")
        for note in notes.values():
            print(note)

    _with_library(shown)


@app.command("remove", help=say("library.remove"))
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=say("library.help_yes"))] = False,
    as_json: AsJson = False,
) -> None:
    async def removed(service: LibraryService) -> None:
        model = service.find(name)
        kept = bool(model.manifest.location)
        if not yes and not _agreed(model, kept):
            raise typer.Exit(1)
        await service.remove(name)
        told = {"removed": model.manifest.name, "freed_bytes": 0 if kept else model.manifest.size_bytes}
        print_json(told) if as_json else print(say("library.removed", name=model.manifest.name))

    _with_library(removed)


app.command("plan", help=say("plan.command"))(plan_model)


def _agreed(model: Installed, kept: bool) -> bool:
    if not sys.stdin.isatty():
        raise UserError("remove_not_confirmed", name=model.manifest.name)
    question = "library.ask_forget" if kept else "library.ask_remove"
    size = figures.size(model.manifest.size_bytes)
    return typer.confirm(say(question, name=model.manifest.name, size=size), err=True)


async def _verify(service: LibraryService, name: str, as_json: bool) -> None:
    checked: list[FileVerified] = []
    async for event in shown(service.verify(name)):
        if isinstance(event, FileVerified):
            checked.append(event)
            if as_json:
                print_json({"event": "verified", "model": name, "file": event.name, "is_intact": event.is_intact})
    need_intact(name, checked)
    if not as_json:
        print(say("library.intact", name=name, count=len(checked)))


def _with_library(work: Callable[[LibraryService], Awaitable[None]]) -> None:
    async def run() -> None:
        service = library()
        try:
            await work(service)
        finally:
            await service.close()

    asyncio.run(run())


def _detailed(found: Details) -> dict[str, Any]:
    own = {
        "family": found.family,
        "trained_length": found.lengths.trained,
        "reachable_length": found.lengths.reachable if found.lengths.reachable > found.lengths.limit else 0,
    }
    if (adapter := found.adapter) is None:
        return own
    return {"kind": adapter.kind, "rank": adapter.rank, "alpha": adapter.alpha, "targets": list(adapter.targets)}


def _file(record: Any) -> dict[str, Any]:
    return {"name": record.name, "size_bytes": record.size_bytes, "sha256": record.sha256}


def _worded(key: str, value: Any) -> str:
    match key, value:
        case "size_bytes", int():
            return figures.size(value)
        case "parameters", int():
            return figures.parameters(value)
        case "family", str():
            return say(f"family.{value}")
        case "targets", list():
            return ", ".join(value)
        case _, bool():
            return say("library.yes" if value else "library.no")
        case "code_files", list():
            return f"{', '.join(value)} ({say('library.code_note')})"
        case _:
            return str(value)


def _table(models: list[Installed]) -> Table:
    table = Table(box=None, pad_edge=False)
    for key in ("name", "parameters", "weights", "size_bytes", "context_length", "licence"):
        table.add_column(say(f"library.fact_{key}"), overflow="fold")
    names = {model.manifest.name for model in models}
    for model in models:
        facts = model.manifest
        size, parameters = figures.size(facts.size_bytes), figures.parameters(facts.parameters)
        name = f"  └ {facts.name}" if facts.base in names else facts.name
        name = say("library.gone", name=name) if model.is_gone else name
        table.add_row(name, parameters, facts.weights, size, figures.count(facts.context_length), facts.licence)
    return table
