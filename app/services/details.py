"""What can be said of a model from its files alone: its family, its lengths, and what a person should know of it.

Invariant: files are read in a thread and nothing is loaded; what cannot be read is left out, never guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.services.library import Installed
from core.models import families
from core.models.families import Lengths

UNKNOWN = Lengths(0, 0, 0, "")


@dataclass(frozen=True, slots=True)
class Details:
    """
    family: a key of core/models/families.py, "" where the config cannot be read
    remarks: codes of notices that are true of it whenever it runs
    layers: 0 where not known
    """

    family: str = ""
    lengths: Lengths = UNKNOWN
    remarks: tuple[str, ...] = ()
    layers: int = 0


async def read(model: Installed) -> Details:
    """Of a model; nothing is known of an adapter beyond its base."""
    return await asyncio.to_thread(_read, model.files_folder)


def _read(folder: Path) -> Details:
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError):
        return Details()
    family = families.family_of(config)
    layers = families.text_config(config).get("num_hidden_layers")
    return Details(
        family.key,
        families.lengths(config, family),
        families.remarks(config),
        layers if isinstance(layers, int) else 0,
    )


def adapters_of(model: Installed, models: Sequence[Installed]) -> list[str]:
    """The names of the adapters that belong to it."""
    return [one.manifest.name for one in models if one.manifest.base == model.manifest.name]
