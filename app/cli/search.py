"""`qwen-workbench models search`: the catalogue and both hubs, each model with whether it fits this machine.

Invariant: a hub that does not answer costs at most three seconds and one line; what the catalogue has is shown anyway.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.cli.session import discovery
from app.cli.transfer import print_json
from app.services import fitting, machine
from app.services.badges import Badge, badges, stored_form
from app.services.discovery import Listing, Offer, entry_subject
from app.services.fitting import Room
from core import figures
from core.translation import say

MOST = 40  # rows on a terminal
PIPED_WIDTH = 160


def search(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help=say("pull.help_text"))] = "",
    as_json: Annotated[bool, typer.Option("--json", help=say("library.help_json"))] = False,
) -> None:
    listing, free = asyncio.run(_search(text))
    if as_json:
        print_json(_told(listing, free))
        return
    for _, error in listing.problems:
        print(error, file=sys.stderr)
    if listing.offers:
        console = Console()
        if not console.is_terminal:
            console = Console(width=PIPED_WIDTH)
        console.print(_table(listing.offers[:MOST], free))
    else:
        print(say("pull.nothing", text=text))
    if len(listing.offers) > MOST:
        print(say("pull.more", count=len(listing.offers) - MOST), file=sys.stderr)


async def _search(text: str) -> tuple[Listing, Room]:
    listing = Listing(())
    async with discovery() as service, aclosing(service.search(text)) as listings:
        async for latest in listings:
            listing = latest
    return listing, fitting.room(await machine.read())


def _told(listing: Listing, free: Room) -> dict[str, Any]:
    return {
        "models": [_facts(offer, free) for offer in listing.offers],
        "problems": [{"hub": place, "error": error.code, "message": str(error)} for place, error in listing.problems],
    }


def _facts(offer: Offer, free: Room) -> dict[str, Any]:
    entry = offer.entry
    found = _badges(offer, free)
    return {
        "name": offer.name,
        "id": offer.id,
        "sources": [source.place for source in offer.sources],
        "tags": list(entry.tags) if entry else [],
        "weights": entry.weights if entry else "",
        "parameters": offer.parameters,
        "download_bytes": entry.download_bytes if entry else 0,
        "context_length": entry.context_length if entry else 0,
        "licence": offer.licence,
        "gated": offer.gated,
        "downloads": offer.downloads,
        "updated": offer.updated,
        "fit": {form: {"verdict": badge.verdict, "bytes": badge.needed} for form, badge in found.items()},
    }


def _badges(offer: Offer, free: Room) -> dict[Any, Badge]:
    subject = entry_subject(offer.entry) if offer.entry else None
    return dict(badges(subject, free)) if subject else {}


def _table(offers: tuple[Offer, ...], free: Room) -> Table:
    table = Table(box=None, pad_edge=False)
    for key in ("model", "parameters", "weights", "download", "fit", "licence", "sources"):
        table.add_column(
            say(f"pull.{key}"), no_wrap=key != "licence", overflow="fold" if key == "licence" else "ellipsis"
        )
    for offer in offers:
        entry = offer.entry
        sources = ", ".join(say(f"pull.short_{source.place}") for source in offer.sources) or "PyPI"
        table.add_row(
            offer.name if entry else offer.id,
            figures.parameters(offer.parameters) if offer.parameters else "–",
            figures.precision(entry.weights) if entry else "–",
            figures.size(entry.download_bytes) if entry and entry.download_bytes else "–",
            _fit(offer, free),
            offer.licence or "–",
            sources,
        )
    return table


def _fit(offer: Offer, free: Room) -> str:
    subject = entry_subject(offer.entry) if offer.entry else None
    if subject is None:
        return "–"
    badge = badges(subject, free)[stored_form(subject)]
    return f"{say(f'pull.{badge.verdict}')} ({figures.size(badge.needed)})"
