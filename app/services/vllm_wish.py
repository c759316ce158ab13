"""What of a model in the library goes into the command for vLLM. Files are read in a thread.

Invariant: a hub's repository is named only where its very files lie here; what was converted here is named as a folder.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from app.services.installed import Installed
from app.services.library import LibraryService
from core.chat.folder_json import read_object
from core.chat.template_file import read_template
from core.errors import UserError
from core.load_options import LoadOptions
from core.models import adapter
from core.serving.vllm_command import Adapter, Wish
from core.sources import NAMES, PLACES, Place


async def read(library: LibraryService, name: str, options: LoadOptions, key: str, adapters: list[str]) -> Wish:
    """
    Raises:
        UserError: it is not there, or its files cannot be read.
    """
    files = library.files_of(name)
    base = library.find(files.base)
    found = [library.find(one) for one in adapters]
    return await asyncio.to_thread(_read, base, found, options, key)


def _read(base: Installed, adapters: list[Installed], options: LoadOptions, key: str) -> Wish:
    folder, facts = base.files_folder, base.manifest
    hub, repository = _source("" if facts.gguf or facts.location else facts.source)
    return Wish(
        facts.name,
        repository or str(folder),
        read_object(folder / "config.json"),
        read_template(folder)[0],
        facts.can_chat,
        [_adapter(one) for one in adapters],
        options.context_length,
        key,
        options,
        hub,
    )


def _adapter(one: Installed) -> Adapter:
    return Adapter(one.manifest.name, str(one.files_folder), _config(one.files_folder))


def _config(folder: Path) -> dict[str, object]:
    try:
        return dict(adapter.read_config(folder))
    except (UserError, OSError):
        return {}


def _source(said: str) -> tuple[Place | Literal[""], str]:
    """A hub and its repository, out of what the library says of where a model came from."""
    for place in PLACES:
        if said.startswith(f"{NAMES[place]} "):
            return place, said.removeprefix(f"{NAMES[place]} ").partition(" @ ")[0]
    return "", ""
