"""`qwen-workbench machines`: other machines whose models `chat -m MACHINE/MODEL` answers with, as in the window.

Invariant: a key is typed unseen or comes through a pipe, and is never an argument, which others could read.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from app.cli.transfer import print_json
from app.services.preferences import Preferences
from app.services.remote.engines import RemoteService
from app.services.secrets import Secrets
from core.errors import UserError
from core.remote_engine import RemoteEngine, RemoteModel, checked_name, checked_url
from core.translation import say

app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help=say("library.help_json"))]
Name = Annotated[str, typer.Argument(metavar="NAME", help=say("remote.help_name"))]


@app.command("list", help=say("remote.help_list"))
def list_machines(as_json: AsJson = False) -> None:
    engines = RemoteService(Preferences(), Secrets()).engines
    if as_json:
        print_json({"machines": [_facts(engine) for engine in engines]})
    elif not engines:
        print(say("remote.none"))
    for engine in () if as_json else engines:
        for model in engine.models:
            print(f"{engine.called(model)}  {engine.url}")


@app.command("add", help=say("remote.help_add"))
def add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help=say("remote.help_url"))],
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help=say("remote.help_model"))] = None,
    with_key: Annotated[bool, typer.Option("--key", help=say("remote.help_key"))] = False,
    as_json: AsJson = False,
) -> None:
    key = _read_key() if with_key else None

    async def added(service: RemoteService) -> None:
        called = checked_name(name, [engine.name for engine in service.engines])
        found = await service.check(checked_url(url), key)
        engine = RemoteEngine(called, found.url, _chosen(found.models, model or [], called))
        if engine.is_readable_on_the_way:
            print(say("remote.unencrypted_means"), file=sys.stderr)
        if not await service.keep(engine, key):
            variable = service.key_variable(engine)
            print(say("remote.key_not_kept", variable=variable), file=sys.stderr)
        print_json(_facts(engine)) if as_json else print("\n".join(map(engine.called, engine.models)))

    _with_service(added)


@app.command("remove", help=say("remote.help_remove"))
def remove(name: Name) -> None:
    async def removed(service: RemoteService) -> None:
        engine = next((one for one in service.engines if one.name.lower() == name.lower()), None)
        if engine is None:
            raise UserError("remote_unknown", name=name)
        await service.remove(engine)

    _with_service(removed)


def _chosen(found: tuple[RemoteModel, ...], wanted: list[str], name: str) -> tuple[RemoteModel, ...]:
    """Those that are named, by their ids; all of a machine that has few."""
    by_id = {model.id: model for model in found}
    if unknown := [id for id in wanted if id not in by_id]:
        raise UserError("remote_no_such_model", name=name, model=unknown[0], models=", ".join(by_id) or "–")
    if not found:
        raise UserError("remote_no_models", name=name)
    return tuple(by_id[id] for id in wanted) or found


def _read_key() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(say("remote.key"), hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def _facts(engine: RemoteEngine) -> dict[str, object]:
    models = [
        {"name": engine.called(one), "id": one.id, "context_length": one.context_length or None}
        for one in engine.models
    ]
    return {"name": engine.name, "url": engine.url, "encrypted": engine.is_encrypted, "models": models}


def _with_service(work: Callable[[RemoteService], Awaitable[None]]) -> None:
    async def run() -> None:
        service = RemoteService(Preferences(), Secrets())
        try:
            await work(service)
        finally:
            await service.close()

    asyncio.run(run())
