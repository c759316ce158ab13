"""Whether a model is here already, and under which name one can join the library.

Invariant: the repository says which model it is, never the name; no name that is taken is taken a second time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING

from app.services.discovery import Offer
from app.services.installed import Installed
from app.ui.models.fetching import Choice
from core.errors import UserError
from core.models import shelf

if TYPE_CHECKING:
    from app.context import AppContext

LONGEST_STEM = 60  # of a name that is given an ending


def installed_as(offer: Offer, models: Sequence[Installed], ids: Iterable[str] = ()) -> str:
    """The name under which it is in the library, "" where it is not. `ids`: what its repository is called besides."""
    return next((model.manifest.name for model in models if _is_of(model, offer, ids)), "")


def installed_choice(choice: Choice, models: Sequence[Installed]) -> str:
    """The same of what will be fetched: of several GGUF files, that file."""
    look = choice.look
    ids = (look.repository.source.id,) if look is not None else ()
    if not choice.is_one_of_several:
        return installed_as(choice.offer, models, ids)
    name = safe(choice.wished)
    stems = name.lower(), with_owner(name, owner_of(choice.offer.id)).lower()
    own = [model.manifest.name for model in models if _is_of(model, choice.offer, ids)]
    return next((name for name in own if _is_numbered(name.lower(), stems)), "")


def _is_of(model: Installed, offer: Offer, ids: Iterable[str]) -> bool:
    """Its source, "Hugging Face Qwen/Qwen3-8B @ 0123", names the repository of either hub."""
    entry, facts = offer.entry, model.manifest
    if entry is not None and entry.wheel is not None and facts.name.lower() == entry.name.lower():
        return True
    known = {source.id.lower() for source in (*offer.sources, *(entry.sources if entry is not None else ()))}
    known |= {one.lower() for one in ids}
    said = f"{facts.source.lower()} @"  # a cache does not always know the commit
    return any(f" {one} @" in said for one in known)


def _is_numbered(name: str, stems: tuple[str, str]) -> bool:
    return name in stems or (name.rpartition("-")[0] == stems[1] and name.rpartition("-")[2].isdigit())


def taken_names(context: AppContext, models: Sequence[Installed]) -> set[str]:
    """In lower case: of the library, of the queue, and of what is on its way in otherwise."""
    names = [model.manifest.name for model in models]
    names += [item.record.name for item in context.downloads.items if item.state != "done"]
    return {name.lower() for name in (*names, *context.library.transfers)}


def owner_of(repository_id: str) -> str:
    return repository_id.partition("/")[0] if "/" in repository_id else ""


def with_owner(name: str, owner: str) -> str:
    """`name` with an ending that tells it from another one's."""
    return safe(f"{name[:LONGEST_STEM]}-{owner}"[: shelf.LONGEST_NAME - 4]) if owner else name


def free_name(wished: str, owner: str, taken: Collection[str]) -> str:
    """`wished` as the library writes it, else with its owner, else with a number too. `taken`: in lower case."""
    name = safe(wished)
    stem = with_owner(name, owner)
    numbered = (f"{stem}-{number}" for number in count(2))
    return next(one for one in chain((name, stem), numbered) if one.lower() not in taken)


def safe(name: str) -> str:
    try:
        return shelf.safe_name(name)
    except UserError:
        return name  # what is wrong with it is said when it is asked for
