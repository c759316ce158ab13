"""What can be said of a model from its files alone: its family, its lengths, and what a person should know of it.

Invariant: files are read in a thread and nothing is loaded; what cannot be read is left out, never guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.services.installed import Installed
from core.errors import UserError
from core.models import adapter, families
from core.models.families import Lengths
from core.protocol.messages import Notice

TEXT_BYTES = 1_000_000
UNKNOWN = Lengths(0, 0, 0, "")


@dataclass(frozen=True, slots=True)
class AdapterDetails:
    """kind: as people name it; targets: the layers it changes, each kind of them once."""

    kind: str
    rank: int
    alpha: float
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Details:
    """
    family: a key of core/models/families.py, "" where the config cannot be read
    remarks: codes of notices that are true of it whenever it runs
    notices: what a person should know before they trust its answers
    layers: 0 where not known
    licence_file: None where the folder has none
    """

    family: str = ""
    lengths: Lengths = UNKNOWN
    remarks: tuple[str, ...] = ()
    layers: int = 0
    notices: tuple[Notice, ...] = ()
    adapter: AdapterDetails | None = None
    licence_file: Path | None = None


async def read(model: Installed) -> Details:
    """Of a model, or of an adapter: those of the model it belongs to are read from that one."""
    if model.manifest.base:
        return await asyncio.to_thread(_read_adapter, model.files_folder)
    return await asyncio.to_thread(_read, model.files_folder, model.manifest.code_files)


def _read_adapter(folder: Path) -> Details:
    try:
        found = adapter.examine(folder)
    except (OSError, UserError):
        return Details()
    return Details(notices=found.notices, adapter=AdapterDetails(found.kind, found.rank, found.alpha, found.targets))


def _read(folder: Path, code_files: tuple[str, ...]) -> Details:
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
        families.notices(config, code_files),
        licence_file=_licence(folder),
    )


def card(model: Installed) -> str:
    """The README that came with it, as Markdown; "" where none did. Reads a file."""
    return without_head(_text(model.files_folder / "README.md"))


def licence_text(model: Installed) -> str:
    """ "" where none came with it. Reads a file."""
    file = _licence(model.files_folder)
    return _text(file) if file is not None else ""


def without_head(text: str) -> str:
    """A card without the YAML between two lines of dashes at its top, which is for machines."""
    if text.startswith("---"):
        _, _, rest = text.partition("\n---")
        return rest.partition("\n")[2] if rest else text
    return text


def _text(file: Path) -> str:
    try:
        with file.open("rb") as source:
            return source.read(TEXT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _licence(folder: Path) -> Path | None:
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    return next(
        (file for file in names if file.name.lower().startswith(("license", "licence")) and file.is_file()), None
    )


def adapters_of(model: Installed, models: Sequence[Installed]) -> list[str]:
    """The names of the adapters that belong to it."""
    return [one.manifest.name for one in models if one.manifest.base == model.manifest.name]
